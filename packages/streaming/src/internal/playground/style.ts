/** How the page looks, by day and by night. */
export const style = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --panel: #ffffff; --text: #1b2026; --quiet: #5b6672; --rule: #d8dee5;
  --good: #0b62c4; --bad: #b3401a; --soft: #eef2f7; --on-good: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1317; --panel: #181e24; --text: #e7eaee; --quiet: #9ba6b2; --rule: #303942;
    --good: #6cb4ff; --bad: #ff9b66; --soft: #202830; --on-good: #0f1317;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .75rem 1.25rem; border-bottom: 1px solid var(--rule); background: var(--panel); }
h1 { margin: 0; font-size: 1.1rem; flex: 1 1 8rem; }
h2 { margin: 0 0 .5rem; font-size: 1rem; }
h3 { margin: 0 0 .25rem; font-size: .875rem; color: var(--quiet); font-weight: 600; }
h4 { margin: .6rem 0 .1rem; font-size: .8125rem; color: var(--quiet); font-weight: 600; }
main { display: grid; grid-template-columns: minmax(17rem, 2fr) minmax(0, 3fr); gap: 1.25rem; padding: 1.25rem; max-width: 84rem; margin: 0 auto; align-items: start; }
@media (max-width: 52rem) { main { grid-template-columns: minmax(0, 1fr); } }
.panel { padding: 1rem 1.25rem; border: 1px solid var(--rule); border-radius: 10px; background: var(--panel); }
.panel + .panel { margin-top: 1.25rem; }
.quiet { color: var(--quiet); font-weight: 400; }
.line { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; justify-content: space-between; }
#live:empty::before, #trace:empty::before, #fields:empty::before { color: var(--quiet); font-size: .9375rem; }
#live:empty::before { content: "The fields of every call appear here, word by word, while a model writes them."; }
#trace:empty::before { content: "What was called, with what, how long it took and what it used."; }
#fields:empty::before { content: "It takes no inputs."; }
#about { margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--quiet); }
#about:empty, #name:empty, #figures:empty, #answer:empty { display: none; }
.field { margin-bottom: 1rem; }
.field p { margin: 0 0 .25rem; font-size: .875rem; }
label { display: block; font-weight: 600; margin-bottom: .25rem; overflow-wrap: anywhere; }
h2, h3, h4, dt { overflow-wrap: anywhere; }
textarea { display: block; }
textarea, select, input[type=number], input[type=password] {
  width: 100%; padding: .5rem .6rem; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--quiet); border-radius: 6px; resize: vertical; max-height: 24rem;
}
::placeholder { color: var(--quiet); opacity: 1; }
input[type=checkbox] { width: 1.25rem; height: 1.25rem; }
header form, header label { min-width: 0; max-width: 100%; }
header label { margin: 0; font-size: .875rem; font-weight: 400; display: flex; gap: .5rem; align-items: center; white-space: nowrap; }
header select, header input[type=password] { flex: 1 1 9rem; width: auto; min-width: 0; max-width: 24rem; text-overflow: ellipsis; }
.code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875rem; }
[aria-invalid] { border-color: var(--bad) !important; box-shadow: 0 0 0 1px var(--bad); }
.problem { color: var(--bad); margin: .25rem 0 0; overflow-wrap: anywhere; }
.field .problem { margin: .5rem 0 0; }
.problem:empty { display: none; }
button { padding: .5rem 1.1rem; font: inherit; font-weight: 600; border-radius: 6px; border: 1px solid var(--good); background: var(--good); color: var(--on-good); cursor: pointer; }
button.second { background: transparent; color: var(--text); border-color: var(--quiet); }
button[aria-disabled=true] { opacity: .55; cursor: default; }
.buttons { display: flex; flex-wrap: wrap; gap: .5rem; }
.hint { margin: .75rem 0 0; font-size: .875rem; }
:focus-visible { outline: 3px solid var(--good); outline-offset: 2px; }
kbd { padding: 0 .3em; border: 1px solid var(--rule); border-radius: 4px; font-size: .8em; }
#state { margin: 0 0 .5rem; font-weight: 600; overflow-wrap: anywhere; }
#state::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .45em; border-radius: 50%; background: currentColor; }
#answer { margin-bottom: 1rem; }
#state.good { color: var(--good); } #state.bad { color: var(--bad); } #state.busy { color: var(--text); }
#figures { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .5rem; }
@media (max-width: 68rem) { #figures { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
.figure { padding: .4rem .6rem; background: var(--soft); border-radius: 6px; font-size: .875rem; }
.figure span { display: block; font-size: .8125rem; }
.figure b { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dl { margin: 0; }
dt { font-weight: 600; }
.text, pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
dd, dd.text { margin: 0 0 .6rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.call { padding: .5rem .75rem; margin-bottom: .75rem; border-left: 3px solid var(--good); background: var(--soft); border-radius: 0 6px 6px 0; }
.call.done { border-left-color: var(--rule); }
.growing::after { content: "▍"; color: var(--good); }
@media (prefers-reduced-motion: no-preference) { .growing::after { animation: blink 1s steps(2) infinite; } }
@keyframes blink { 50% { opacity: 0; } }
details { border-left: 1px solid var(--rule); padding-left: .6rem; margin: .2rem 0; }
summary { padding: .15rem 0; border-radius: 4px; cursor: pointer; display: flex; gap: .6rem; align-items: baseline; flex-wrap: wrap; overflow-wrap: anywhere; }
summary::before { content: "▸"; } details[open] > summary::before { content: "▾"; }
summary .took { margin-left: auto; font-variant-numeric: tabular-nums; font-size: .875rem; }
.kind { font-size: .75rem; padding: 0 .4rem; border: 1px solid var(--rule); border-radius: 999px; color: var(--quiet); }
.bad > summary { color: var(--bad); }
.body { padding: .1rem 0 .4rem .75rem; font-size: .9375rem; }
.body dl, .body pre { background: var(--soft); padding: .4rem .6rem; border-radius: 6px; max-height: 20rem; overflow: auto; }
.used { margin: 0; }
.panel > :last-child, .call:last-child, .call > :last-child, dl > dd:last-child { margin-bottom: 0; }
[hidden] { display: none !important; }
`
