/**
 * What a page looks like: in light and in dark, on a telephone and on paper.
 */

export const style = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --panel: #f5f7f9; --text: #1b1f24; --quiet: #57606a; --rule: #d8dee4;
  --good: #0b62c4; --bad: #b8410a; --given: #7a5c00; --removed: #ffe2d4; --added: #d9ebff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1317; --panel: #181e24; --text: #e7eaee; --quiet: #9ba6b2; --rule: #303942;
    --good: #6cb4ff; --bad: #ff9b66; --given: #e0b84a; --removed: #4a2413; --added: #12365c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 54rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--rule); font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .4rem; font-size: 1rem; }
p { margin: .4rem 0 .8rem; }
a { color: var(--good); }
:focus-visible { outline: 3px solid var(--good); outline-offset: 2px; border-radius: 3px; }
code, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875em; }
.quiet { color: var(--quiet); }
.state { display: inline-block; margin-bottom: .5rem; font-weight: 600; color: var(--quiet); }
nav { margin: 1.25rem 0 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0; list-style: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 .75rem; }
.card { padding: .75rem 1rem; border: 1px solid var(--rule); border-radius: 8px; background: var(--panel); }
.card h2 { margin: 0; padding: 0; border: 0; font-size: .875rem; font-weight: 600; color: var(--quiet); }
.card strong { display: block; font-size: 1.6rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card small { display: block; font-size: .8125rem; color: var(--quiet); }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0 0; font-size: .875rem; }
dl.facts dt { color: var(--quiet); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; }
th, td { padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { font-weight: 600; color: var(--quiet); white-space: nowrap; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.winner td:first-child { box-shadow: inset 3px 0 var(--good); }
td:first-child, th:first-child { padding-left: .6rem; }
td.note { min-width: 11rem; }
td.words { min-width: 14rem; overflow-wrap: anywhere; }
.figure { margin: .75rem 0 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg.natural { width: auto; max-width: none; }
svg.whisker { flex: none; width: 120px; height: 14px; }
.interval { display: flex; align-items: center; gap: .5rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.narrow { display: none; }
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--text); }
.tick, .axis { fill: var(--quiet); font-variant-numeric: tabular-nums; }
.marked { fill: var(--text); font-weight: 600; }
/* Letters that a line runs through stay legible. */
.halo { paint-order: stroke; stroke: var(--ground); stroke-width: 4px; stroke-linejoin: round; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.grid { stroke: var(--rule); }
.given { stroke: var(--given); stroke-width: 1.5; stroke-dasharray: 5 4; }
.best { fill: none; stroke: var(--good); stroke-width: 2; }
.dot line { stroke: var(--quiet); stroke-opacity: .55; stroke-width: 1.5; }
.dot circle { fill: var(--good); stroke: var(--ground); stroke-width: 1; }
.incomplete circle { fill: var(--ground); stroke: var(--good); stroke-width: 1.5; }
.winner circle { stroke: var(--text); stroke-width: 2; }
.edge { fill: none; stroke: var(--rule); stroke-width: 1.5; }
.lineage { stroke: var(--good); stroke-width: 2.5; }
.win { fill: var(--good); }
.loss { fill: var(--bad); }
.shade0 { fill: var(--rule); fill-opacity: .55; }
.shade1 { fill: var(--good); fill-opacity: .3; }
.shade2 { fill: var(--good); fill-opacity: .5; }
.shade3 { fill: var(--good); fill-opacity: .75; }
.shade4 { fill: var(--good); }
.unknown { fill: var(--bad); fill-opacity: .35; }
.squares path { vector-effect: non-scaling-stroke; }
.apart path { stroke: var(--ground); stroke-width: 1.5; }
.key { display: inline-flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .25rem 0 0; padding: 0; list-style: none; font-size: .8125rem; color: var(--quiet); }
.key li { display: inline-flex; align-items: center; gap: .4rem; }
.key svg { width: 22px; height: 12px; }
.prompt {
  margin: .4rem 0 .8rem; padding: .75rem 1rem; border: 1px solid var(--rule); border-radius: 8px; background: var(--panel);
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9375rem;
}
del { background: var(--removed); text-decoration: line-through; text-decoration-color: var(--bad); }
ins { background: var(--added); text-decoration: underline; text-decoration-color: var(--good); text-underline-offset: 2px; }
del, ins { padding: 0 .1em; border-radius: 3px; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
details { margin: .35rem 0; border: 1px solid var(--rule); border-radius: 8px; }
summary { padding: .4rem .75rem; cursor: pointer; overflow-wrap: anywhere; }
summary .sign { font-weight: 700; }
.added > summary .sign { color: var(--good); }
.removed > summary .sign { color: var(--bad); }
dl.fields { margin: 0; padding: .25rem .75rem .6rem; }
dl.fields dt { font-size: .8125rem; color: var(--quiet); }
dl.fields dd { margin: 0 0 .35rem; white-space: pre-wrap; overflow-wrap: anywhere; }
details > .scroll { padding: 0 .75rem; }
td dl.fields { display: grid; grid-template-columns: minmax(3rem, max-content) 1fr; gap: 0 .75rem; padding: .15rem 0 0; }
td dl.fields dd { margin: 0; }
footer { margin-top: 3rem; font-size: .8125rem; color: var(--quiet); }
@media (max-width: 36rem) {
  body { padding-top: 1rem; }
  .wide { display: none; }
  .narrow { display: block; }
  .card { padding: .6rem .75rem; }
  .card strong { font-size: 1.35rem; }
}
@page { margin: 14mm; }
@media print {
  :root {
    color-scheme: light;
    --ground: #ffffff; --panel: #ffffff; --text: #000000; --quiet: #444444; --rule: #cccccc;
    --good: #0b62c4; --bad: #b8410a; --given: #7a5c00; --removed: #ffe2d4; --added: #d9ebff;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  svg, tr, .card { break-inside: avoid; }
  .scroll { overflow: visible; }
  details[class]::details-content { content-visibility: visible; display: block; }
}
`
