// Draws the groups that `view.py` prepared. Text enters the page by textContent alone, never as markup.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const WIDE = DATA.sides.length > 1 ? 124 : 164, HIGH = 44, GAP = 20, LABEL = 92, LEAF = 230; // pixels: column, lane, gap, both ends
const SHADES = {
  entropy: { name: "entropy", unit: "nats", size: (v) => v, two: false },
  logp: { name: "surprise (−log-probability)", unit: "nats", size: (v) => -v, two: false },
  advantage: { name: "advantage", unit: "", size: (v) => v, two: true },
  ratio: { name: "ratio at the last update", unit: "π/π_old − 1", size: (v) => v - 1, two: true },
  none: { name: "nothing", unit: "", size: () => null, two: false },
};
const ORANGE = [245, 158, 66], BLUE = [110, 173, 226], WHITE = [255, 255, 255], BINS = 60;

const state = { shade: "entropy", whole: false, side: 0, sides: DATA.sides.map(start) };
const parts = []; // of each side: its elements, made once

function start(one) { // the first fork, or the first turn of all
  const row = one.lanes.find((other) => one.rows[other].parent >= 0) ?? one.lanes[0] ?? -1;
  return { row, turn: row < 0 ? 0 : one.rows[row].first, token: -1 };
}

// -- text and colour --------------------------------------------------------------------------------------------------

function visible(text) {
  return text.replace(/[\u0000-\u0009\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421").replace(/\n/g, "\u21b5\n")
    .replace(/[\u0080-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
      (c) => "\u27e8U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9");
}

function make(kind, className = "", text = "") {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = visible(text);
  return element;
}

function colour(value) {
  const kind = SHADES[state.shade];
  const size = value === null || value === undefined ? null : kind.size(value);
  if (size === null) return "";
  const share = Math.min(1, Math.abs(size) / DATA.scales[state.shade]);
  const end = kind.two && size > 0 ? BLUE : ORANGE;
  return `rgb(${WHITE.map((c, i) => Math.round(c + (end[i] - c) * share)).join(",")})`;
}

function bands(values) { // a strip of at most BINS bands, each the mean of its tokens
  const step = Math.max(1, values.length / BINS), colours = [];
  for (let start = 0; start < values.length; start += step) {
    const known = values.slice(Math.floor(start), Math.max(Math.floor(start) + 1, Math.floor(start + step))).filter((v) => v !== null);
    colours.push(known.length ? colour(known.reduce((a, b) => a + b) / known.length) || "#fff" : "#fff");
  }
  const stops = colours.map((c, i) => `${c} ${(100 * i) / colours.length}% ${(100 * (i + 1)) / colours.length}%`);
  return colours.length ? `linear-gradient(to right, ${stops.join(", ")})` : "none";
}

const number = (value, digits = 3) => (value === null || value === undefined ? "unknown" : value.toFixed(digits).replace("-", "−"));

// -- the frame --------------------------------------------------------------------------------------------------------

function frame() {
  document.body.append(make("h1", "", DATA.sides.map((one) => one.title).join("  |  ")));
  const bar = make("div", "bar"), field = make("fieldset"), whole = make("label"), box = make("input");
  field.append(make("legend", "", "Shade tokens by"));
  for (const [key, kind] of Object.entries(SHADES)) {
    const label = make("label"), radio = make("input");
    Object.assign(radio, { type: "radio", name: "shade", value: key, checked: key === state.shade });
    radio.addEventListener("change", () => shade(key));
    label.append(radio, " " + kind.name);
    field.append(label);
  }
  Object.assign(box, { type: "checkbox", id: "whole" });
  box.addEventListener("change", () => { state.whole = box.checked; showAll(); });
  whole.append(box, " text of the whole branch");
  const scale = make("div", "scale");
  scale.id = "scale";
  bar.append(field, scale, whole);
  const keys = make("p", "keys");
  for (const [key, does] of [["← →", "turn"], ["↑ ↓", "branch"], ["f", "next fork"], ["p", "its parent"], [", .", "token"], ["s", "shading"], ["b", "whole branch"], ["Tab", "other side"]])
    keys.append(make("kbd", "", key), ` ${does}   `);
  if (DATA.sides.some((one) => one.forked)) {
    const forked = make("i", "test forked"), not = make("i", "test");
    keys.append(forked, " a branch test that forked   ", not, " one that did not   ");
  }
  keys.append(" | bar of a turn: the tokens that the policy sampled, one after the other");
  const sides = make("div", "sides");
  DATA.sides.forEach((one, index) => sides.append(frameOf(one, index)));
  document.body.append(bar, keys, sides, make("p", "foot", `Made by: ${DATA.command}`));
  document.addEventListener("keydown", onKey);
}

function frameOf(one, index) {
  const box = make("section"), forest = make("div", "forest"), detail = make("div", "detail");
  box.setAttribute("aria-label", one.title);
  if (DATA.sides.length > 1) box.append(make("h2", "", one.title));
  box.append(make("p", "place", one.place), make("p", "question", one.prompt));
  for (const fact of [...(one.gold ? [`right answer: ${one.gold}`] : []), ...one.facts]) box.append(make("p", "facts", fact));
  forest.setAttribute("role", "group");
  forest.setAttribute("aria-label", "branches from top to bottom, turns from left to right");
  detail.setAttribute("aria-live", "polite");
  box.append(forest, detail);
  parts.push({ forest, detail, nodes: new Map() });
  draw(one, index);
  return box;
}

// -- the tree ---------------------------------------------------------------------------------------------------------

const lane = (one, row) => one.lanes.indexOf(row);
const left = (turn) => LABEL + turn * WIDE;
const middle = (one, row) => lane(one, row) * HIGH + HIGH / 2;

function place(element, x, y, width, height) {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: width ? `${width}px` : "", height: height ? `${height}px` : "" });
  return element;
}

function draw(one, index) {
  const { forest, nodes } = parts[index];
  const canvas = place(make("div", "canvas"), 0, 0, left(one.columns) + LEAF, one.lanes.length * HIGH + 6);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const longest = Math.max(1, ...one.rows.flatMap((row) => row.turns.map((turn) => turn.tokens.text.length)));
  canvas.append(svg);
  forest.append(canvas);
  for (const row of one.rows) {
    const y = middle(one, row.row), last = row.turns.length - 1, inner = WIDE - GAP;
    const head = place(make("div", "lane"), 0, y - 17, left(row.first) - 6, 34);
    const reward = `${row.correct ? "✓" : "✗"} ${number(row.reward, 2)}`;
    head.append(make("b", "", `#${row.row}`), row.parent < 0 ? row.kind : `fork of #${row.parent}  ${reward}`);
    head.append(document.createElement("br"), make("span", row.parent < 0 ? "" : "why", row.parent < 0 ? reward : row.short));
    canvas.append(head);
    for (let turn = row.first; turn <= last; turn++) {
      const one_turn = row.turns[turn], node = place(make("button", "node"), left(turn), y - 17, inner, 34), strip = make("i");
      strip.style.width = `${Math.max(8, (100 * one_turn.tokens.text.length) / longest)}%`;
      node.append(make("span", "", one_turn.label), strip);
      node.tabIndex = -1;
      node.setAttribute("aria-label", visible(`branch ${row.row}, turn ${turn + 1}: ${one_turn.label}`));
      node.addEventListener("click", () => choose(index, row.row, turn));
      nodes.set(`${row.row},${turn}`, { node, strip, values: one_turn.tokens });
      canvas.append(node);
      if (one_turn.test) {
        const mark = place(make("div", one_turn.forked ? "test forked" : "test"), left(turn) - GAP / 2 - 6, y - 6);
        mark.title = visible(one_turn.test);
        canvas.append(mark);
      }
    }
    const leaf = make("div", row.correct ? "leaf right" : row.reward < 0 ? "leaf bad" : "leaf", row.end ? `${reward} ${row.end}` : reward);
    leaf.title = visible(`answer: ${row.answer ?? "none"}`);
    canvas.append(place(leaf, left(last + 1) - 8, y - 11));
  }
  svg.setAttribute("width", canvas.style.width);
  svg.setAttribute("height", canvas.style.height);
}

function lines(one, index) { // what joins nodes: lanes, and a drop from each parent to its forks; the chosen branch is bold
  const svg = parts[index].forest.querySelector("svg"), on = branch(one, state.sides[index].row);
  const made = [];
  for (const row of one.rows) {
    const y = middle(one, row.row), inner = WIDE - GAP;
    for (let turn = row.first + 1; turn < row.turns.length; turn++)
      made.push([`M${left(turn - 1) + inner} ${y}H${left(turn)}`, "", on.has(`${row.row},${turn}`)]);
    if (row.parent >= 0) {
      const x = left(row.first) - GAP / 2;
      made.push([`M${x} ${middle(one, row.parent)}V${y}H${left(row.first)}`, "fork", on.has(`${row.row},${row.first}`)]);
    }
  }
  svg.replaceChildren(...made.sort((a, b) => a[2] - b[2]).map(([d, kind, chosen]) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    path.setAttribute("class", chosen ? `${kind} chosen` : kind);
    return path;
  }));
}

function branch(one, row) { // the nodes from the question to the leaf of a row, as "row,turn"
  const found = new Set();
  for (let at = one.rows[row], end = at ? at.turns.length : 0; at; end = at.first, at = one.rows[at.parent])
    for (let turn = at.first; turn < end; turn++) found.add(`${at.row},${turn}`);
  return found;
}

// -- the chosen turn --------------------------------------------------------------------------------------------------

function choose(index, row, turn, focus = true) {
  state.side = index;
  state.sides[index] = { row, turn, token: -1 };
  show(index);
  const found = parts[index].nodes.get(`${row},${turn}`);
  if (found && focus) {
    found.node.focus({ preventScroll: true });
    found.node.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function show(index) {
  const one = DATA.sides[index], at = state.sides[index], { nodes, detail } = parts[index], on = branch(one, at.row);
  for (const [key, { node, strip, values }] of nodes) {
    const here = key === `${at.row},${at.turn}`;
    node.classList.toggle("path", on.has(key));
    node.setAttribute("aria-current", String(here));
    node.tabIndex = here ? 0 : -1;
    strip.style.backgroundImage = state.shade === "none" ? "none" : bands(values[state.shade]);
  }
  lines(one, index);
  const row = one.rows[at.row];
  if (!row) return;
  const body = [], turns = state.whole ? row.turns.map((_, turn) => turn) : [at.turn];
  body.push(make("h3", "", `#${row.row}, turn ${at.turn + 1} of ${row.turns.length}: ${row.turns[at.turn].label}`));
  body.push(make("p", "", `reward ${number(row.reward, 2)}, answer: ${row.answer ?? "none"}${row.end ? `; ${row.end}` : ""}`));
  if (row.why) body.push(make("p", "why", `#${row.row} is a fork of #${row.parent}, before turn ${row.first + 1}. ${row.why}`));
  const readout = make("div", "readout", "Point at a token, or press . and , for its numbers.");
  body.push(readout);
  if (row.opening && (state.whole || at.turn === 0)) body.push(make("div", "result", row.opening));
  for (const turn of turns) body.push(...turnText(row, turn, readout));
  detail.replaceChildren(...body);
  pointTo(index, at.token);
}

function turnText(row, number_, readout) {
  const turn = row.turns[number_], text = make("div", "text"), found = [];
  if (turn.test && number_ >= row.first) found.push(make("p", "why", `${turn.test}${turn.forks.length ? ` New: #${turn.forks.join(", #")}.` : ""}`));
  else if (turn.untested) found.push(make("p", "facts", turn.untested));
  turn.tokens.text.forEach((piece, i) => {
    const token = make("span", "token", piece);
    token.style.backgroundColor = colour(turn.tokens[state.shade]?.[i]);
    token.dataset.read = visible(`token ${i + 1} of turn ${number_ + 1} ${JSON.stringify(piece)}: entropy ${number(turn.tokens.entropy[i])}, log-probability ${number(turn.tokens.logp[i])}, advantage ${number(turn.tokens.advantage[i])}, ratio ${number(turn.tokens.ratio[i])}`);
    token.addEventListener("mouseenter", () => { readout.textContent = token.dataset.read; });
    text.append(token);
  });
  found.push(text);
  if (turn.fault) found.push(make("p", "why", `wrong format: ${turn.fault}`));
  if (turn.result !== null) found.push(make("div", "result", turn.result));
  return found;
}

function pointTo(index, token) {
  const tokens = [...parts[index].detail.querySelectorAll(".token")];
  tokens.forEach((one, i) => one.classList.toggle("at", i === token));
  if (!tokens[token]) return;
  parts[index].detail.querySelector(".readout").textContent = tokens[token].dataset.read;
  tokens[token].scrollIntoView({ block: "nearest" });
}

function showAll() {
  const kind = SHADES[state.shade], scale = document.getElementById("scale"), end = DATA.scales[state.shade], strip = make("i");
  if (state.shade === "none") return scale.replaceChildren(), DATA.sides.forEach((_, index) => show(index));
  const rgb = (c) => `rgb(${c.join(",")})`;
  strip.style.backgroundImage = `linear-gradient(to right, ${(kind.two ? [ORANGE, WHITE, BLUE] : [WHITE, ORANGE]).map(rgb).join(", ")})`;
  scale.replaceChildren(kind.two ? `−${end.toFixed(2)}` : "0", strip, `${kind.two ? "+" : "≥ "}${end.toFixed(2)} ${kind.unit}`);
  DATA.sides.forEach((_, index) => show(index));
}

function shade(key) {
  state.shade = key;
  document.querySelector(`input[value=${key}]`).checked = true;
  showAll();
}

// -- keys -------------------------------------------------------------------------------------------------------------

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" && event.key.startsWith("Arrow")) return;
  const inside = parts.findIndex((part) => part.forest.contains(document.activeElement));
  if (inside >= 0) state.side = inside;
  const index = state.side, one = DATA.sides[index], at = state.sides[index], row = one.rows[at.row];
  if (!row) return;
  const to = (other, turn) => other && choose(index, other.row, Math.max(other.first, Math.min(turn, other.turns.length - 1)));
  const keys = {
    ArrowRight: () => to(row, at.turn + 1),
    ArrowLeft: () => (at.turn > row.first ? to(row, at.turn - 1) : to(one.rows[row.parent], row.first - 1)),
    ArrowDown: () => to(one.rows[one.lanes[lane(one, at.row) + 1]], at.turn),
    ArrowUp: () => to(one.rows[one.lanes[lane(one, at.row) - 1]], at.turn),
    Home: () => to(row, row.first),
    End: () => to(row, row.turns.length),
    f: () => nextFork(one, at, to),
    p: () => to(one.rows[row.parent], row.first),
    s: () => shade(Object.keys(SHADES)[(Object.keys(SHADES).indexOf(state.shade) + 1) % Object.keys(SHADES).length]),
    b: () => document.getElementById("whole").click(),
    ".": () => pointTo(index, (at.token = Math.min(at.token + 1, parts[index].detail.querySelectorAll(".token").length - 1))),
    ",": () => pointTo(index, (at.token = Math.max(at.token - 1, 0))),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

function nextFork(one, at, to) { // the first fork below the chosen lane, or the first of all
  const forks = one.lanes.filter((row) => one.rows[row].parent >= 0);
  const next = forks.find((row) => lane(one, row) > lane(one, at.row)) ?? forks[0];
  if (next !== undefined) to(one.rows[next], 0);
}

frame();
showAll();
