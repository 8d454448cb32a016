// Short messages over the picture.

import { by, make } from "./elements.js";

export function toast(text, kind = "") {
  const told = make("div", { class: `toast ${kind}`, text });
  const list = by("toasts");
  [...list.children].find((one) => one.textContent === text)?.remove();
  list.append(told);
  while (list.children.length > 3) list.firstChild.remove();
  list.hidePopover();
  list.showPopover();   // once more, so that it is above a sheet
  setTimeout(() => told.remove(), kind === "bad" ? 9000 : 3500);
}
