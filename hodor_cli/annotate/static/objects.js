// The list of objects: naming, hiding and deleting them, and merging or swapping two of them.

import { by, make } from "./elements.js";
import { send } from "./socket.js";
import { nameOf, objectOf, on, set, state, title } from "./state.js";
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

// Whether the server has not answered yet that it has added the current object.
export const adding = () => view.sent.some(({ adds }) => adds === state.object);

// Select an object that has neither a name nor masks, also none under way, or create a new one.
export function addObject() {
  const masked = new Set([...state.frames.values()].flatMap(({ seen }) => [...seen.keys()]));
  view.sent.forEach(({ message }) => masked.add(message.object));
  const coming = view.sent.flatMap(({ adds }) => (adds ? [{ id: adds }] : []));
  const empty = [...state.objects, ...coming].find(({ id, name }) => !name && !masked.has(id));
  if (empty) { set({ object: empty.id }); toast(`${title(empty)} has no mask yet; click it in the picture.`); }
  else if (send({ do: "add-object" })) {
    const ids = new Set(state.objects.map(({ id }) => id));
    view.sent.forEach(({ message }) => ids[message.do === "delete-object" ? "delete" : "add"](message.object));
    let object = 1;   // the server chooses the first free id; what is drawn before it answers belongs to this object
    while (ids.has(object)) object++;
    view.sent.at(-1).adds = object;
    set({ object });
  }
}

// The current object; shows a hint if there is none.
export function current() {
  const entry = objectOf();
  if (!entry) toast("There is no object yet; click one in the picture.");
  return entry;
}

// Names are read-only until they are being renamed, so that shortcuts work after a click on one.
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

// Mark the current object and scroll the list (and nothing around it) to it; offer the others for merging and swapping.
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

const pair = (what, more = {}) => send({ do: what, object: state.object, other: Number(by("other").value), ...more });
by("merge").addEventListener("click", () => pair("merge"));
by("swap").addEventListener("click", () => pair("swap"));
by("swap-here").addEventListener("click", () => pair("swap", { start: state.frame }));

on("objects", drawObjects);
on("objects object", drawCurrent);
