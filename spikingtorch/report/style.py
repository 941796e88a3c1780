"""The look of the page: one column, system fonts, and the colours of ``spikingtorch.plot``, light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #18222c; --soft: #5a6774; --line: #dfe5ea; --paper: #ffffff; --card: #f5f8fa; --accent: #0072b2;
  --blue: #0072b2; --vermilion: #d55e00; --green: #009e73; --sky: #56b4e9; --orange: #e69f00; --purple: #cc79a7;
  --lift: 0%;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e4eaef; --soft: #9aa8b5; --line: #2b3640; --paper: #11171d; --card: #182028; --accent: #6bbcf0;
    --blue: #3f9fe0; --vermilion: #f07a1f; --green: #22b98e; --sky: #93d2f8; --orange: #f0b429; --purple: #e09cc4;
    --lift: 30%;
  }
  svg image { filter: invert(1) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 var(--sans); }
main, header, footer, nav { max-width: 66rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3.5rem; }
h1 { margin: 0; font-size: 2.1rem; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em;
  overflow-wrap: anywhere; }
h2 { margin: 3.5rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.35rem;
  line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; }
h3 { margin: 2rem 0 0.5rem; font-size: 1.05rem; font-weight: 650; overflow-wrap: anywhere; }
p { margin: 0.6rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 0.15em; }
code, pre { font-family: var(--mono); font-size: 0.875em; }
pre { margin: 0.8rem 0; padding: 0.8rem 1rem; background: var(--card); border-radius: 8px; overflow-x: auto;
  line-height: 1.5; }
pre code { font-size: 1em; }
.soft, figcaption, caption, footer { color: var(--soft); }
.kicker { margin: 0 0 0.3rem; color: var(--accent); font-size: 0.85rem; font-weight: 600; letter-spacing: 0.02em; }
.facts { margin: 0.6rem 0 0; color: var(--soft); font-size: 0.92rem; max-width: none; }
.facts span { white-space: nowrap; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; margin: 1.6rem 0 0; padding: 0; list-style: none;
  font-size: 0.92rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0.8rem;
  margin: 1.8rem 0 0; padding: 0; }
.tile { padding: 0.9rem 1rem 1rem; background: var(--card); border-radius: 10px; }
.tile dt { color: var(--soft); font-size: 0.85rem; }
.tile dd { margin: 0; }
.tile .big { font-size: 1.65rem; line-height: 1.3; font-weight: 600; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }
.tile .note { color: var(--soft); font-size: 0.82rem; line-height: 1.4; }
.scroll { margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.4rem; font-size: 0.85rem; }
caption span { display: block; max-width: min(100%, calc(100vw - 2.4rem)); }
th, td { padding: 0.42rem 0.9rem 0.42rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font: 600 0.95em var(--mono); overflow-wrap: anywhere; min-width: 4rem; }
tfoot th, tfoot td { border-bottom: 0; font-weight: 650; }
.n { text-align: right; white-space: nowrap; }
td:last-child:not(.n) { min-width: 15rem; }
.share { display: block; height: 4px; margin-top: 0.25rem; border-radius: 2px; background: var(--line);
  min-width: 5rem; }
.share i { display: block; height: 100%; border-radius: 2px; background: var(--accent); }
figure { margin: 0; min-width: 0; }
figcaption { margin-top: 0.2rem; font-size: 0.82rem; line-height: 1.4; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr));
  gap: 1.4rem 1.6rem; margin: 1rem 0; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide svg { min-width: 50rem; }
.advice { margin: 1rem 0; padding: 0.7rem 1.1rem 0.8rem; background: var(--card);
  border-left: 3px solid var(--green); border-radius: 0 10px 10px 0; }
.advice.look { border-left-color: var(--vermilion); }
.advice h3 { margin-top: 0; }
.advice p { max-width: none; margin: 0.4rem 0; }
.advice pre { background: var(--paper); }
.pass, .fail, .open { font-weight: 600; white-space: nowrap; }
.pass { color: var(--green); }
.fail { color: var(--vermilion); }
.open { color: var(--soft); }
.dot { display: inline-block; width: 0.6em; height: 0.6em; margin-right: 0.45em; border-radius: 50%; }
footer { margin-top: 4rem; padding-top: 1.2rem; padding-bottom: 3rem; font-size: 0.85rem; }
footer p { max-width: none; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  main, header, footer, nav { padding-left: 1.1rem; padding-right: 1.1rem; }
  header { padding-top: 2rem; }
  h1 { font-size: 1.6rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 0.6rem; }
  .tile { padding: 0.7rem 0.8rem 0.8rem; }
  .tile:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .tile .big { font-size: 1.35rem; }
}
@media print {
  body { font-size: 10.5pt; }
  header { padding-top: 0; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, .tile, .advice, tr { break-inside: avoid; }
  .wide, .scroll, pre { overflow: visible; }
  .wide svg { min-width: 0; }
  .figures { grid-template-columns: repeat(3, 1fr); }
  .tiles { grid-template-columns: repeat(5, 1fr); }
  .soft { break-after: avoid; }
  tfoot { display: table-row-group; }
  pre { white-space: pre-wrap; }
}
"""
