// The keyboard: one table defines the keys' functions and the help dialog.

import { nextReview, nextSuggestion } from "./advice.js";
import { endCrosshair, moveCrosshair, pressCrosshair, toggleCrosshair } from "./crosshair.js";
import { theme } from "./display.js";
import { by, make } from "./elements.js";
import { openExport } from "./exports.js";
import "./hints.js";
import { adapt, stop, track } from "./jobs.js";
import { addObject, current, hide, rename } from "./objects.js";
import { holdSpace } from "./pointer.js";
import { send } from "./socket.js";
import { state, set } from "./state.js";
import { cancel, closePolygon, pick, takeCornerBack, tidy } from "./tools.js";
import { wholeTimeline, zoomTimeline } from "./timeline.js";
import { play } from "./transport.js";
import { fit, go, zoom } from "./view.js";

const grow = (factor) => set({ brush: Math.max(1, Math.min(150, Math.round(state.brush * factor + Math.sign(factor - 1)))) });
const step = (way) => {
  const ids = state.objects.map((entry) => entry.id);
  if (ids.length) set({ object: ids[(ids.indexOf(state.object) + way + ids.length) % ids.length] });
};

// While the timeline has the focus, the zoom keys apply to it.
const onTimeline = () => document.activeElement.id === "strip";
const enlarge = (factor) => (onTimeline() ? zoomTimeline : zoom)(factor);

// Headings, and rows [keys, description, function, id of the button that does the same]. Keys have the browser's names,
// prefixed with Ctrl+, Alt+ and Shift+.
const KEYS = [
  "Mouse and fingers",
  [["Click", "Tap"], "use the tool", null],
  [["Right-click", "Alt+Click", "Long press"], "remove", null],
  [["Wheel", "Two fingers"], "zoom the picture, or the timeline", null],
  [["Middle button", "Two fingers"], "move the picture", null],
  [["Double click"], "show the whole timeline", null],
  "Tools",
  [["v"], "click tool", () => set({ tool: "click" }), "click"],
  [["b"], "box", () => set({ tool: "box" }), "box"],
  [["p"], "brush", () => set({ tool: "brush" }), "brush"],
  [["e"], "eraser", () => set({ tool: "eraser" }), "eraser"],
  [["g"], "polygon", () => set({ tool: "polygon" }), "polygon"],
  [["h"], "move the picture", () => set({ tool: "hand" }), "hand"],
  [["["], "smaller brush", () => grow(0.85)],
  [["]"], "larger brush", () => grow(1.18)],
  [["f"], "fill holes", () => tidy("fill"), "fill"],
  [["l"], "keep the largest piece", () => tidy("largest"), "largest"],
  [["Delete", "Backspace"], "absent from here on", () => tidy("clear"), "absent"],
  [["Enter"], "close the polygon", closePolygon],
  "Objects",
  [["n"], "new object", addObject, "add"],
  [["1…9"], "select an object", null],
  [["s"], "select the object under the pointer", pick],
  [[","], "previous object", () => step(-1)],
  [["."], "next object", () => step(1)],
  [["x"], "show or hide the object", () => hide()],
  [["F2"], "rename the object", () => rename()],
  [["Shift+Delete"], "delete the object from all frames", () => current() && send({ do: "delete-object", object: state.object })],
  "Track",
  [["t"], "track forward", () => track("forward"), "track-forward"],
  [["Shift+t"], "track backward", () => track("backward"), "track-backward"],
  [["r"], "track both ways", () => track("both"), "track-both"],
  [["o"], "track one frame", () => track("one"), "track-one"],
  [["Escape"], "stop tracking, or cancel a drawing", () => cancel() || (state.job ? stop() : endCrosshair())],
  [["a"], "adapt the network", adapt, "adapt"],
  "Frames",
  [[" "], "play; hold to move the picture", null, "play"],
  [["ArrowLeft", "PageUp"], "one frame back", () => go(state.frame - 1), "previous"],
  [["ArrowRight", "PageDown"], "one frame forward", () => go(state.frame + 1), "next"],
  [["Shift+ArrowLeft", "Shift+PageUp"], "ten frames back", () => go(state.frame - 10)],
  [["Shift+ArrowRight", "Shift+PageDown"], "ten frames forward", () => go(state.frame + 10)],
  [["Home"], "first frame", () => go(0)],
  [["End"], "last frame", () => go(Infinity)],
  [["j"], "previous place to review", () => nextReview(-1)],
  [["k"], "next place to review", () => nextReview(1), "next-review"],
  [["u"], "next frame to mask", nextSuggestion],
  "Picture",
  [["+", "="], "zoom in (the timeline, if it has the focus)", () => enlarge(1.25)],
  [["-"], "zoom out", () => enlarge(0.8)],
  [["0"], "fit the picture", () => (onTimeline() ? wholeTimeline() : fit()), "fit"],
  [["m"], "outline or fill", () => set({ outline: !state.outline })],
  [["d"], "dark or light", theme, "theme"],
  [["?"], "this help", () => help(), "help"],
  "Changes",
  [["Ctrl+z"], "undo", () => takeCornerBack() || send({ do: "undo" }), "undo"],
  [["Ctrl+Shift+z", "Ctrl+y"], "redo", () => send({ do: "redo" }), "redo"],
  [["Ctrl+s"], "export", openExport, "export"],
  "Without a mouse",
  [["c"], "show or hide a crosshair with these keys:", toggleCrosshair],
];
const CROSSHAIR_KEYS = [
  [["Arrow"], "move the crosshair", ({ key }) => moveCrosshair(key)],
  [["Shift+Arrow"], "move it a little", ({ key }) => moveCrosshair(key, false)],
  [["Enter"], "click, or start and end a box or a stroke", () => pressCrosshair()],
  [["Alt+Enter"], "the same, but removing", () => pressCrosshair(true)],
];

const NAMES = { " ": "Space", Arrow: "Arrows", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", PageUp: "PgUp", PageDown: "PgDn" };
const rows = KEYS.filter(Array.isArray);
const table = (entries) => new Map(entries.flatMap(([keys, , action]) => (action ? keys.map((key) => [key, action]) : [])));
const actions = table(rows), crosshairActions = table(CROSSHAIR_KEYS);

const shownKey = (name) => name.split("+").map((key) => NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key)).join("+") || "+";

function help() {
  const sheet = by("help-sheet");
  if (sheet.open) { sheet.close(); return; }
  by("help-keys").replaceChildren(...[...KEYS, ...CROSSHAIR_KEYS].map((entry) => {
    if (typeof entry === "string") return make("h3", { text: entry });
    const [keys, text] = entry;
    return make("div", {}, ...keys.map((key) => make("kbd", { text: shownKey(key) })), make("span", { text }));
  }));
  sheet.showModal();
}

// A pressed key's name, as in KEYS. It leaves out Shift and AltGr if they were only needed to type a character.
function keyName(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, typed = event.getModifierState("AltGraph");
  const held = [
    ["Ctrl", (event.ctrlKey || event.metaKey) && !typed],
    ["Alt", event.altKey && !typed],
    ["Shift", event.shiftKey && (/^[a-z]$/.test(key) || key.length > 1)],
  ];
  return [...held.filter(([, down]) => down).map(([name]) => name), key].join("+");
}

// The keys that act again and again while they are held.
const REPEATED = /Arrow|Page|[[\],.jku+=-]$|[zy]$/;
const PRESSED_BY_SPACE = "button, summary, input[type=checkbox]";
let spaceDown = null;   // when the space bar was pressed

// The canvases show a focus ring only while the user moves through the page with Tab.
addEventListener("pointerdown", () => document.body.classList.add("pointing"), true);

addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.key === "Tab") document.body.classList.remove("pointing");
  if (event.isComposing) return;   // Enter and Escape belong to the input method
  if (target.matches("input:not([type=range], [type=checkbox], [readonly]), select")) {
    if (event.key === "Escape" && target.matches("input")) target.value = target.defaultValue;
    if (["Escape", "Enter"].includes(event.key)) target.blur();
    return;
  }
  const sheet = document.querySelector("dialog[open]");
  if (sheet && !(sheet.id === "help-sheet" && event.key === "?")) return;
  if (!state.video || event.metaKey && !["z", "y", "s"].includes(event.key.toLowerCase())) return;
  if (event.key === " ") {
    if (target.matches(PRESSED_BY_SPACE)) return;
    event.preventDefault();
    if (!event.repeat) { spaceDown = event.timeStamp; holdSpace(true); }
    return;
  }
  if (target.matches("button, summary") && event.key === "Enter") return;
  if (target.matches("#objects input") && event.key === "Enter") { event.preventDefault(); rename(target); return; }
  if (target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  const name = keyName(event);
  const action = (state.crosshair && crosshairActions.get(name.replace(/Arrow.*/, "Arrow"))) ?? actions.get(name) ?? digit(name);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || REPEATED.test(name)) action(event);
});

// A short press of the space bar plays; a long one moved the picture.
addEventListener("keyup", (event) => {
  if (event.key !== " " || spaceDown === null) return;
  if (event.timeStamp - spaceDown < 250) play();
  releaseSpace();
});
addEventListener("blur", releaseSpace);   // otherwise another window would get the key's release

function releaseSpace() {
  holdSpace(false);
  spaceDown = null;
}

function digit(name) {
  const entry = /^[1-9]$/.test(name) ? state.objects.find((one) => one.id === Number(name)) : null;
  return entry ? () => set({ object: entry.id }) : null;
}

// Elements that Space would press lose the focus after a click, so that Space plays instead.
addEventListener("click", (event) => { if (event.detail) event.target.closest?.(PRESSED_BY_SPACE)?.blur(); });

for (const [, , action, id] of rows) {
  if (id) by(id).addEventListener("click", action ?? (() => play()));
}
