// The drawing becomes an image as in MNIST, its pixels fire at random, and at each frame the network takes a step.
import * as ort from "./ort.wasm.bundle.min.mjs";

const SIZE = 28, BOX = 20, PEN = 2.4; // pixels of an image, of the digit in it, and of the pen there
const FADES = 0.95; // what a step leaves of the spikes counted before
const CELL = 8; // pixels of a neuron
const find = (id) => document.getElementById(id);
const colour = (element) => getComputedStyle(element).color;

// --- the drawing

const pad = find("pad");
let strokes = [], image = null, drawing = false;

function ink(context, width) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const [first, ...others] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    for (const point of others.length ? others : [first]) context.lineTo(...point);
    context.stroke();
  }
}

// scaled into a box of 20 x 20 pixels, with the centre of its mass in the middle of 28 x 28
function centred() {
  const points = strokes.flat(), xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  const scale = (BOX - PEN) / Math.max(right - left, bottom - top, pad.width / 5);
  const render = (x, y) => {
    const context = new OffscreenCanvas(SIZE, SIZE).getContext("2d");
    context.setTransform(scale, 0, 0, scale, SIZE / 2 - x * scale, SIZE / 2 - y * scale);
    ink(context, PEN / scale);
    const { data } = context.getImageData(0, 0, SIZE, SIZE);
    return Float32Array.from({ length: SIZE * SIZE }, (_, i) => data[4 * i + 3] / 255);
  };
  const x = (left + right) / 2, y = (top + bottom) / 2, whole = render(x, y);
  const mass = whole.reduce((sum, value) => sum + value);
  const off = (at) => whole.reduce((sum, value, i) => sum + value * (at(i) + 0.5 - SIZE / 2), 0) / mass / scale;
  return render(x + off((i) => i % SIZE), y + off((i) => Math.floor(i / SIZE)));
}

function changed() {
  const context = pad.getContext("2d");
  context.clearRect(0, 0, pad.width, pad.height);
  context.strokeStyle = colour(pad);
  ink(context, 36);
  image = strokes.length ? centred() : null;
}

function place(event) {
  const { left, top, width } = pad.getBoundingClientRect();
  return [((event.clientX - left) * pad.width) / width, ((event.clientY - top) * pad.width) / width];
}

pad.addEventListener("pointerdown", (event) => {
  drawing = true;
  strokes.push([place(event)]);
  changed();
});
addEventListener("pointermove", (event) => {
  if (!drawing) return;
  strokes.at(-1).push(place(event));
  changed();
});
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (drawing = false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);

// --- the network: its state, and what its output neurons have fired

let session, atRest, state, counts, fired, steps, took;

// the state at rest of one sample: rest.json has a number for all neurons of a state, or one for each
function rest() {
  const states = session.inputMetadata.filter(({ name }) => name.startsWith("state."));
  state = Object.fromEntries(states.map(({ name, shape }) => {
    const sizes = [1, ...shape.slice(1)], values = [atRest[name.replace("state.", "")]].flat(Infinity);
    const whole = Float32Array.from({ length: sizes.reduce((a, b) => a * b) }, (_, i) => values[i % values.length]);
    return [name, new ort.Tensor("float32", whole, sizes)];
  }));
  [counts, fired, steps, took] = [new Array(10).fill(0), [], 0, 0];
}

async function step() {
  const spikes = image.map((value) => Number(Math.random() < value)), before = state;
  const begin = performance.now();
  const out = await session.run({ ...state, x: new ort.Tensor("float32", spikes, [1, 1, 1, SIZE, SIZE]) });
  if (state !== before) return; // cleared meanwhile
  took += performance.now() - begin;
  steps += 1;
  for (const name in state) state[name] = out[name.replace("state.", "next.")];
  const digits = [...out["out.digits"].data];
  counts = counts.map((count, digit) => FADES * count + digits[digit]);
  fired.push(digits);
  maps(find("input"), spikes, 1, SIZE, 1);
  maps(find("first"), out["out.first"].data, 12, 12, 4);
  maps(find("second"), out["out.second"].data, 24, 5, 5);
}

// --- what is shown

const glow = new Map(); // what each neuron shows: a spike fades over some frames

function maps(canvas, spikes, number, side, columns) {
  const shown = (glow.get(canvas) ?? new Float32Array(spikes.length)).map((old, i) => Math.max(spikes[i], 0.75 * old));
  glow.set(canvas, shown);
  canvas.width = CELL * (columns * (side + 1) - 1);
  canvas.height = CELL * (Math.ceil(number / columns) * (side + 1) - 1);
  const context = canvas.getContext("2d");
  context.fillStyle = colour(canvas);
  shown.forEach((value, i) => {
    const map = Math.floor(i / side ** 2), row = Math.floor(i / side) % side, column = i % side;
    context.globalAlpha = 0.06 + 0.94 * value;
    const x = (map % columns) * (side + 1) + column, y = Math.floor(map / columns) * (side + 1) + row;
    context.fillRect(CELL * x, CELL * y, CELL - 1, CELL - 1);
  });
}

const bars = Array.from({ length: 10 }, (_, digit) => {
  const bar = document.createElement("span");
  bar.append(document.createElement("i"), digit);
  return find("bars").appendChild(bar);
});

function show() {
  const most = Math.max(...counts), best = most > 1 ? counts.indexOf(most) : -1;
  find("digit").textContent = best < 0 ? "?" : best;
  find("digit").classList.toggle("idle", best < 0);
  bars.forEach((bar, digit) => {
    bar.classList.toggle("best", digit === best);
    bar.firstChild.style.height = `${(100 * counts[digit] * (1 - FADES)).toFixed(1)}%`;
  });
  if (steps % 30 === 1) find("speed").textContent = `${(took / steps).toFixed(2)} ms a step`;
  raster(best);
}

function raster(best) {
  const canvas = find("raster"), ratio = devicePixelRatio, width = canvas.clientWidth, high = canvas.clientHeight / 10;
  Object.assign(canvas, { width: width * ratio, height: 10 * high * ratio });
  const context = canvas.getContext("2d"), plain = colour(find("bars"));
  context.scale(ratio, ratio);
  Object.assign(context, { font: "13px system-ui, sans-serif", textBaseline: "middle" });
  fired = fired.slice(-Math.floor((width - 24) / 5));
  for (let digit = 0; digit < 10; digit++) {
    context.fillStyle = digit === best ? colour(canvas) : plain;
    context.fillText(digit, 0, (digit + 0.5) * high);
    fired.forEach((digits, i) => {
      if (digits[digit]) context.fillRect(width - 5 * (fired.length - i), digit * high + 2, 3, high - 4);
    });
  }
}

async function frame() {
  if (image) await step();
  show();
  requestAnimationFrame(frame);
}

function clear() {
  strokes = [];
  changed();
  rest();
  glow.clear();
  maps(find("input"), new Float32Array(SIZE * SIZE), 1, SIZE, 1);
  maps(find("first"), new Float32Array(12 * 144), 12, 12, 4);
  maps(find("second"), new Float32Array(24 * 25), 24, 5, 5);
}

try {
  ort.env.wasm.numThreads = 1;
  session = await ort.InferenceSession.create("net.onnx");
  atRest = await (await fetch("rest.json")).json();
  clear();
  find("clear").addEventListener("click", clear);
  find("said").textContent = "Draw a digit from 0 to 9, with the mouse or a finger.";
  frame();
} catch (error) {
  find("said").textContent = `The network cannot be loaded: ${error.message}`;
}
