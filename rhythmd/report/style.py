"""The report's style sheet: paper first, the screen as well."""

CSS = """
@page { size: A4 portrait; margin: 14mm 17mm 16mm 18mm;
  @bottom-left { content: "rhythmd report. Not a medical device; reviewed by nobody.";
    font: 7.5pt sans-serif; color: #667; }
  @bottom-right { content: counter(page) " / " counter(pages); font: 7.5pt sans-serif; color: #667; } }
:root { --ink: #16191d; --soft: #59626c; --rule: #d3d8de; --faint: #f3f5f7; --accent: #1d4f7c; --v: #b3261e;
  --s: #6a3fa0; --af: #efe4f7; --unread: #e4e7eb; --paper: #fffdfc; --fine: #f6dddb; --bold: #e6aaa6; }
* { box-sizing: border-box; }
html { background: #e9ebee; }
body { margin: 0 auto; width: 210mm; padding: 14mm 17mm 16mm 18mm; background: #fff; color: var(--ink);
  font: 9.6pt/1.42 "Helvetica Neue", Helvetica, "Liberation Sans", Arial, sans-serif; }
@media print { html { background: #fff; } body { width: auto; padding: 0; } }
@media screen { body { margin: 8mm auto; box-shadow: 0 1px 8px rgba(0, 0, 0, .18); } }
header { display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 1.6pt solid var(--ink);
  padding-bottom: 2mm; }
h1 { font-size: 17pt; font-weight: 600; margin: 0; letter-spacing: -.01em; line-height: 1.15; }
header p { margin: 0; color: var(--soft); } header .right { text-align: right; }
.warning { margin: 2.5mm 0 0; padding: 1.4mm 2.4mm; border: .6pt solid var(--v); color: var(--v); font-size: 8.6pt; }
h2 { font-size: 11.5pt; font-weight: 600; margin: 7mm 0 1.6mm; break-after: avoid; color: var(--accent); }
h3 { font-size: 9.6pt; font-weight: 600; margin: 4mm 0 .6mm; break-after: avoid; }
p { margin: 1mm 0; } h2 + p { break-after: avoid; } .note { color: var(--soft); font-size: 8.2pt; }
.who { display: grid; grid-template-columns: 1fr 1fr; gap: 0 8mm; margin: 3mm 0 0; }
dl { display: grid; align-content: start; grid-template-columns: max-content 1fr; gap: .5mm 3mm; margin: 0;
  font-size: 9pt; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.line { display: inline-block; min-width: 45mm; border-bottom: .5pt solid var(--soft); height: 1.2em; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); border: .6pt solid var(--rule); margin: 4mm 0 0; }
.tile { padding: 2mm 2.6mm 1.8mm; border-left: .6pt solid var(--rule); }
.tile:nth-child(4n+1) { border-left: 0; } .tile:nth-child(n+5) { border-top: .6pt solid var(--rule); }
.tile b { display: block; font-size: 14.5pt; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 8.2pt; } .tile i { font-style: normal; font-size: 9pt; font-weight: 400; }
ul.findings { margin: 1.5mm 0 0; padding-left: 4.5mm; } ul.findings li { margin: .6mm 0; }
li.grave { color: var(--v); font-weight: 600; }
table { border-collapse: collapse; font-size: 8.6pt; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .75mm 1.6mm; text-align: right; vertical-align: baseline; white-space: nowrap; }
th:first-child, td:first-child, .l { text-align: left !important; } td.w { white-space: normal; }
thead th { color: var(--soft); font-weight: 500; border-bottom: 1pt solid var(--ink); vertical-align: bottom;
  white-space: normal; } thead { display: table-header-group; }
tbody tr { border-bottom: .5pt solid var(--rule); break-inside: avoid; }
tfoot td { font-weight: 600; border-top: 1pt solid var(--ink); } td.zero { color: #b4bac1; }
.high { color: var(--v); font-weight: 600; }
section.whole { break-inside: avoid; }
figure { margin: 3.4mm 0 0; break-inside: avoid; }
figcaption { display: flex; justify-content: space-between; gap: 4mm; font-size: 9pt; }
figcaption span { color: var(--soft); white-space: nowrap; }
svg { display: block; overflow: visible; max-width: none; } svg text { font-family: inherit; fill: var(--ink); }
path { fill: none; } .paper { fill: var(--paper); } .fine { stroke: var(--fine); stroke-width: .09; }
.bold { stroke: var(--bold); stroke-width: .16; } .gap { fill: var(--unread); }
.trace { stroke: #0d0f12; stroke-width: .24mm; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.beat { font-size: 2.3px; text-anchor: middle; } svg text.beat.N { fill: #8a929b; }
svg text.beat.V { fill: var(--v); font-weight: 700; } svg text.beat.S { fill: var(--s); font-weight: 700; }
svg text.rhythm { font-size: 2.5px; fill: var(--soft); } svg text.note { font-size: 2.5px; fill: var(--v); }
.rule { stroke: var(--rule); stroke-width: .15; } .spread { fill: #c9d9e8; }
.median { stroke: var(--accent); stroke-width: .4; }
.unread { fill: var(--unread); } .af { fill: var(--af); } .bar-v { fill: var(--v); } .bar-s { fill: var(--s); }
svg text.tick { font-size: 2.5px; text-anchor: middle; fill: var(--soft); }
svg text.level { font-size: 2.5px; text-anchor: end; fill: var(--soft); }
.legend { color: var(--soft); font-size: 8.2pt; margin-top: 1mm; }
.legend i { display: inline-block; width: 3.4mm; height: 2.4mm; margin: 0 1mm 0 3mm; vertical-align: -.1mm; }
.legend i:first-child { margin-left: 0; }
"""
