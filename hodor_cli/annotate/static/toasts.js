// Short messages over the picture.

import { by, make } from "./elements.js";

// A sentence of the server begins with a capital here, unless it begins with a file's name.
export function toast(sentence, kind = "") {
  const text = sentence.replace(/^[a-z]+(?=[ ;])/, (word) => word[0].toUpperCase() + word.slice(1));
  const told = make("div", { class: `toast ${kind}`, text });
  const list = by("toasts");
  [...list.children].find((one) => one.textContent === text)?.remove();
  list.append(told);
  while (list.children.length > 3) list.firstChild.remove();
  list.hidePopover();
  list.showPopover();   // once more, so that it is above a sheet
  setTimeout(() => told.remove(), Math.max(kind === "bad" ? 9000 : 3500, 70 * text.length));
}
