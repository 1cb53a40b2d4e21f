import { script } from "./script.ts"
import { style } from "./style.ts"

// Names of functions are kept by some tools with a helper that is not part of the source of the function.
const source = `const __name = (f) => f\n;(${script.toString()})()`.replaceAll("</", "<\\/")

/** The page; only what has the nonce is run and drawn. */
export const page = (nonce: string): string =>
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Playground</title>
<link rel="icon" href="data:,">
<style nonce="${nonce}">${style}</style>
</head>
<body>
<header>
<h1>Playground</h1>
<form id="access" aria-label="Access" hidden><label>Token <input id="token" type="password" autocomplete="off"></label></form>
<label>Module <select id="module"></select></label>
</header>
<main>
<form id="form" class="panel" aria-label="Input" novalidate>
<h2 id="name"></h2>
<p id="about"></p>
<div id="fields"></div>
<div class="buttons">
<button id="run" type="submit" aria-disabled="true">Run</button>
<button id="cancel" type="button" class="second" aria-disabled="true">Cancel</button>
</div>
<p class="quiet hint"><kbd>Ctrl</kbd> <kbd>Enter</kbd> runs, <kbd>Esc</kbd> cancels.</p>
</form>
<div>
<section class="panel" aria-labelledby="answer-title">
<div class="line">
<h2 id="answer-title">Answer</h2>
<p id="state" role="status" class="quiet">loading</p>
</div>
<div id="answer" aria-live="polite"></div>
<div id="figures"></div>
</section>
<section class="panel" aria-labelledby="live-title">
<h2 id="live-title">As it is written</h2>
<div id="live"></div>
</section>
<section class="panel" aria-labelledby="trace-title">
<h2 id="trace-title">Trace</h2>
<div id="trace"></div>
</section>
</div>
</main>
<script nonce="${nonce}">${source}</script>
</body>
</html>
`
