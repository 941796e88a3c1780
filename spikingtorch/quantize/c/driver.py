"""A ``main`` for tests of generated C: numbers in decimal from stdin, and what the neurons do in decimal to stdout."""

import numpy as np

from spikingtorch.quantize.c.header import event_of
from spikingtorch.quantize.c.program import Program
from spikingtorch.quantize.c.sums import Source
from spikingtorch.quantize.neurons import Neuron

# written without printf and without a division, so that it runs on bare machines that have getchar and putchar
_TEXT = r"""
#include <stdio.h>

static int get(int32_t *value)
{
    int32_t found = 0;
    int letter = getchar(), negative = 0;
    while (letter == ' ' || letter == '\n' || letter == '\r') letter = getchar();
    if (letter == '-') { negative = 1; letter = getchar(); }
    if (letter < '0' || letter > '9') return 0;
    for (; letter >= '0' && letter <= '9'; letter = getchar()) found = found * 10 + (letter - '0');
    *value = negative ? -found : found;
    return 1;
}

static void put(int32_t value)
{
    static const uint32_t tens[10] =
        {1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u};
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    int place, shown = 0;
    if (value < 0) putchar('-');
    for (place = 0; place < 10; place++) {
        int digit = '0';
        while (rest >= tens[place]) { rest -= tens[place]; digit++; }
        shown = shown || digit > '0' || place == 9;
        if (shown) putchar(digit);
    }
    putchar(' ');
}
"""
_MAIN = r"""
/* A sequence is its number of steps, and the inputs of each step. Each step writes a line: of each neuron node the
   spikes, the membranes and, where there are any, the synaptic currents; and the output. */
int main(void)
{
    static @_input in[@SIZE];
    const @_output *out;
    int32_t steps, value;
    uint32_t i, n;
    while (get(&steps)) {
        @_reset();
        for (; steps > 0; steps--) {
            n = 0;
            for (i = 0; i < @SIZE; i++) {
                if (!get(&value)) return 1;
                if (value == 0) continue;
                @TAKE
                n++;
            }
            n = @_step(in, n, &out);
@SHOW
            putchar('\n');
        }
    }
    return 0;
}
"""


def driver_lines(program: Program, output: Source) -> list[str]:
    """Return the text of ``main`` of a program whose output is at a place."""
    index, value = event_of(program.model)
    take = f"in[n] = ({index})i;" if value is None else f"in[n].index = ({index})i; in[n].value = ({value})value;"
    show = []
    for part in program.parts:
        if isinstance(part.node, Neuron):
            symbol, arrays = part.symbol, ["v", "i"] if part.node.decay_synapse is not None else ["v"]
            size = int(np.prod(part.node.shape))
            graded = part.node.most_spikes > 1
            show += _spikes(f"e{symbol}", f"n{symbol}", size, graded)
            show += [f"for (i = 0; i < {size}u; i++) put({each}{symbol}[i]);" for each in arrays]
    show += _spikes("out", "n", output.size, output.form != "events")
    if program.has_flag:
        show.append(f"put({program.flag});")
    text = _MAIN.replace("@TAKE", take).replace("@SHOW", "\n".join(f"            {line}" for line in show))
    sized = text.replace("@SIZE", f"{int(np.prod(program.model.input_shape))}u")
    return [*_TEXT.splitlines(), *sized.replace("@", program.prefix).splitlines()]


def _spikes(name: str, count: str, size: int, graded: bool) -> list[str]:
    place, value = (f"{name}[j].index", f"{name}[j].value") if graded else (f"{name}[j]", "1")
    return [
        f"for (i = 0; i < {size}u; i++) {{",
        "    int32_t found = 0;",
        "    uint32_t j;",
        f"    for (j = 0; j < {count}; j++) if ({place} == i) found = {value};",
        "    put(found);",
        "}",
    ]
