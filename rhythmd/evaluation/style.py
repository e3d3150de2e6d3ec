"""The page's style sheet."""

CSS = """
:root {
  color-scheme: light dark;
  --ink: #1c1f23; --soft: #5d656e; --rule: #d5d9de; --faint: #eceef1; --page: #fff; --accent: #1b5e8c;
  --paper: #fffafa; --fine: #f7dcdc; --bold: #eab5b5; --trace: #111; --wrong: #b3261e; --shade: 27, 94, 140;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e6e9; --soft: #9aa3ad; --rule: #3a4048; --faint: #23272c; --page: #16181b; --accent: #7db9e8;
    --paper: #1d1516; --fine: #35211f; --bold: #57312f; --trace: #f1f1f1; --wrong: #ff8a80; --shade: 125, 185, 232;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.9rem; font-weight: 600; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; font-weight: 600; margin: 0 0 .6rem; }
section { margin: 2.6rem 0 0; }
p { max-width: 46rem; margin: .5rem 0; }
.kind { color: var(--soft); margin: 0 0 .2rem; }
.warning { border-left: 3px solid var(--wrong); padding-left: .7rem; margin: .8rem 0 1.2rem; }
.failures { border-left: 3px solid var(--wrong); padding-left: .7rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
nav { margin: 2.4rem 0 0; } nav h2 { font-size: 1rem; }
nav ol { columns: 18rem; margin: 0; padding-left: 1.3rem; } a { color: var(--accent); }
code { white-space: nowrap; font: .92em ui-monospace, "DejaVu Sans Mono", monospace; }
.scroll { overflow-x: auto; margin: .8rem 0 0; } .scroll:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums lining-nums; }
caption { white-space: nowrap; text-align: left; font-weight: 600; padding: 0 0 .45rem; font-size: .95rem; }
th, td { padding: .2rem .75rem; text-align: right; vertical-align: baseline; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; border-bottom: 1.5px solid var(--ink); vertical-align: bottom;
  white-space: normal; max-width: 9rem; }
th:first-child { text-align: left; padding-left: 0; font-weight: 500; white-space: nowrap; }
td:last-child, th:last-child { padding-right: .2rem; }
tbody tr { border-bottom: 1px solid var(--faint); } tbody tr:hover { background: var(--faint); }
tr.total { border-bottom: 1px solid var(--rule); } tr.total th, tr.total td { font-weight: 600; }
td.shaded { background: rgba(var(--shade), calc(.05 + .4 * var(--weight))); }
td.of { color: var(--soft); font-size: .8em; font-weight: 400 !important; padding-left: 0; text-align: left; }
td:has(+ td.of) { padding-right: .45rem; }
.note { color: var(--soft); font-size: .87rem; max-width: 52rem; }
details summary { cursor: pointer; } details summary h2 { display: inline; }
figure { margin: 1.4rem 0 0; } figcaption { color: var(--soft); font-size: .88rem; }
figure .scroll { margin: .2rem 0 0; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 0 2rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 0; } section section { margin: 1.8rem 0 0; }
svg { display: block; } svg text { font-family: inherit; }
svg.strip { height: auto; max-width: none; }
svg.plot { max-width: 100%; height: auto; }
.paper { fill: var(--paper); } .fine { stroke: var(--fine); stroke-width: .12; }
.bold { stroke: var(--bold); stroke-width: .22; }
path { fill: none; } .trace { stroke: var(--trace); stroke-width: 1.3px; vector-effect: non-scaling-stroke;
  stroke-linejoin: round; }
text.label { font-size: 3.3px; fill: var(--ink); text-anchor: middle; }
text.rhythm { text-anchor: start; fill: var(--soft); }
path.label { stroke: var(--soft); stroke-width: .25; }
text.wrong { fill: var(--wrong); font-weight: 700; } path.wrong { stroke: var(--wrong); stroke-width: .6; }
.bar { fill: var(--accent); } .base { stroke: var(--rule); } .limit { stroke: var(--wrong); stroke-dasharray: 3 3; }
text.axis { font-size: 11px; fill: var(--soft); text-anchor: middle; }
footer { margin-top: 3rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .88rem; }
@media print { body { padding: 0; max-width: none; } .scroll { overflow: visible; }
  section { break-inside: avoid-page; } }
"""
