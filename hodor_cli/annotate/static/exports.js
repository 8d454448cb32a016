// The sheet of exports.

import { by, make } from "./elements.js";
import { begin, drawJob } from "./jobs.js";
import { state } from "./state.js";

// A row of the sheet: what is written, and the button that does it. chosen: gives the kind to write.
function exportRow(name, what, chosen) {
  const write = () => begin({ do: "export", kind: chosen() }, "export");
  return make("li", { "data-kind": name }, what, make("button", { id: `write-${name}`, text: "Write", onclick: write }));
}

// The formats of other tools, of which one is chosen, and what it is.
function otherFormats(formats) {
  const options = formats.map(({ kind, title }) => make("option", { value: kind, text: title }));
  const choice = make("select", { id: "format" }, ...options);
  const about = make("small");
  const tell = () => { about.textContent = formats[choice.selectedIndex]?.about; };
  choice.addEventListener("change", tell);
  tell();
  return exportRow("other", make("span", {}, make("label", {}, "For another tool", choice), about), () => choice.value);
}

const ofOtherTool = (kind) => kind.startsWith("to-");

export function openExport() {
  by("export-folder").textContent = `Masks and report are always in ${state.video.folder}. Also write:`;
  const own = state.exports.filter(({ kind }) => !ofOtherTool(kind));
  by("export-kinds").replaceChildren(
    ...own.map(({ kind, title, about }) => exportRow(kind, make("span", { text: `${title}: ${about}` }), () => kind)),
    otherFormats(state.exports.filter(({ kind }) => ofOtherTool(kind))),
  );
  drawJob();
  if (!by("export-sheet").open) by("export-sheet").showModal();
}

// A finished export can be downloaded from the sheet.
export function exported({ kind, name }) {
  const row = document.querySelector(`#export-kinds [data-kind="${ofOtherTool(kind) ? "other" : kind}"]`);
  row?.querySelector("a")?.remove();
  row?.append(make("a", { href: `export/${encodeURIComponent(kind)}`, download: "", text: `Download ${name}` }));
}
