// The bar on top and the panel at the side: objects, display, the running job.

import { by, make } from "./elements.js";
import { send } from "./socket.js";
import { nameOf, objectOf, on, set, state, tell, title } from "./state.js";
import { toast } from "./toasts.js";
import { view } from "./view.js";

function objectRow(entry) {
  const row = make("li", { onclick: () => set({ object: entry.id }) });
  const chip = make("button", { class: "chip", title: `Select (${entry.id})`, "aria-label": `Select ${title(entry)}` });
  chip.style.background = `rgb(${entry.colour.join(" ")})`;
  const id = make("span", { class: "id", text: entry.id });
  const name = make("input", {
    value: entry.name, placeholder: `Object ${entry.id}`, maxlength: 80, readonly: "", "aria-label": `Name of object ${entry.id}`,
    title: "Double-click to rename (F2)", ondblclick: () => rename(name), onblur: () => { name.readOnly = true; },
    onchange: () => send({ do: "rename", object: entry.id, name: name.value }),
  });
  const eye = make("button", {
    text: entry.hidden ? "◌" : "◉", class: entry.hidden ? "quiet off" : "quiet", title: "Show or hide (X)",
    "aria-label": `${entry.hidden ? "Show" : "Hide"} ${title(entry)}`,
    onclick: (event) => { event.stopPropagation(); hide(entry); },
  });
  const remove = make("button", {
    text: "×", class: "quiet", title: "Delete from all frames (Shift+Delete)", "aria-label": `Delete ${title(entry)}`,
    onclick: (event) => { event.stopPropagation(); send({ do: "delete-object", object: entry.id }); },
  });
  row.append(chip, id, name, eye, remove);
  return row;
}

export function hide(entry = current()) {
  if (!entry) return;
  entry.hidden = !entry.hidden;
  set({ objects: state.objects });
  send({ do: "hide", object: entry.id, hidden: entry.hidden });
}

// Select an object without name and masks, or make one.
export function addObject() {
  const masked = new Set([...state.frames.values()].flatMap(({ seen }) => [...seen.keys()]));
  const empty = state.objects.find(({ id, name }) => !name && !masked.has(id));
  if (empty) { set({ object: empty.id }); toast(`${title(empty)} has no mask yet; click it in the picture.`); }
  else send({ do: "add-object" });
}

// The current object; without one, a hint.
export function current() {
  const entry = objectOf();
  if (!entry) toast("There is no object yet; click one in the picture.");
  return entry;
}

// Until it is renamed, a name takes no keys, so that shortcuts work after a click on it.
export function rename(name = document.querySelector("#objects .current input")) {
  if (!name) return;
  name.readOnly = false;
  name.focus();
  name.select();
}

function drawObjects() {
  const list = by("objects"), buttons = () => [...list.querySelectorAll("button")];
  if (document.activeElement.matches("#objects input")) document.activeElement.blur();
  const place = buttons().indexOf(document.activeElement);
  list.replaceChildren(...state.objects.map(objectRow));
  if (!state.objects.length) list.append(make("li", { class: "none", text: "none yet: click one in the picture" }));
  buttons()[place]?.focus();
}

// Mark the current object, and scroll the list, and nothing around it, to it; list the others beside it.
function drawCurrent() {
  const list = by("objects"), place = state.objects.findIndex((entry) => entry.id === state.object), row = list.children[place];
  for (const one of list.children) {
    one.classList.toggle("current", one === row);
    one.querySelector(".chip")?.setAttribute("aria-pressed", one === row);
  }
  if (place >= 0) {
    const top = row.offsetTop - list.offsetTop;
    list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + row.offsetHeight - list.clientHeight));
  }
  const others = state.objects.filter((entry) => entry.id !== state.object);
  by("with").hidden = place < 0 || !others.length;
  by("this").textContent = `${nameOf(state.object)} with`;
  const chosen = by("other").value;
  by("other").replaceChildren(...others.map((entry) => make("option", { value: entry.id, text: title(entry) })));
  if (others.some((entry) => entry.id === Number(chosen))) by("other").value = chosen;
}

const clock = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export function drawJob() {
  const { job } = state;
  by("job").hidden = !job;
  by("tracking").hidden = Boolean(job);
  by("export-progress").hidden = job?.job !== "export";
  for (const button of document.querySelectorAll("#adapt, #export-kinds button")) button.disabled = Boolean(job);   // it would stop the job
  if (!job) return;
  for (const bar of [by("share"), by("export-share")]) {
    if (job.share === undefined) bar.removeAttribute("value");   // it only moves to and fro
    else bar.value = job.share;
  }
  const rate = job.rate ? `${job.rate.toFixed(1)} frames/s, ` : "";
  const word = { track: "tracking", adapt: "adapting", export: "exporting" }[job.job] ?? "";
  by("rate").textContent = by("export-rate").textContent = job.left === undefined ? `${word}…` : `${word}: ${rate}${clock(job.left)} left`;
}

export const stop = () => send({ do: "stop" });

export function begin(message, job) {
  if (send(message)) set({ job: { job } });
}

export const track = (direction) => { if (view.shown >= 0) begin({ do: "track", frame: view.shown, direction }, "track"); };

export const adapt = () => { if (!state.job) begin({ do: "adapt" }, "adapt"); };

const light = matchMedia("(prefers-color-scheme: light)");

// The theme that was chosen here, or else that of the system.
function useTheme() {
  document.documentElement.dataset.theme = localStorage.theme ?? (light.matches ? "light" : "dark");
  tell("theme");
}
light.addEventListener("change", useTheme);
useTheme();

export function theme() {
  localStorage.theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  useTheme();
}

const pair = (what, more = {}) => send({ do: what, object: state.object, other: Number(by("other").value), ...more });
by("merge").addEventListener("click", () => pair("merge"));
by("swap").addEventListener("click", () => pair("swap"));
by("swap-here").addEventListener("click", () => pair("swap", { start: state.frame }));
by("welcomed").addEventListener("click", () => { welcomed = true; drawWelcome(); });
by("stop").addEventListener("click", stop);
by("opacity").addEventListener("input", () => set({ opacity: by("opacity").value / 100 }));
by("size").addEventListener("input", () => set({ brush: Number(by("size").value) }));
by("outline").addEventListener("change", () => set({ outline: by("outline").checked }));

on("objects", drawObjects);
on("objects object", drawCurrent);
on("job", drawJob);
on("undo redo corners", () => { by("undo").disabled = !state.undo && !state.corners.length; by("redo").disabled = !state.redo; });
on("brush", () => { by("size").value = state.brush; by("size-shown").textContent = `${state.brush} px`; });
on("outline", () => { by("outline").checked = state.outline; });
let welcomed = false;
const drawWelcome = () => { by("welcome").hidden = welcomed || !state.video || state.frames.size > 0 || state.crosshair || state.corners.length; };
on("frames video shown crosshair corners", drawWelcome);
on("ready", () => { by("wait").hidden = state.ready; });
