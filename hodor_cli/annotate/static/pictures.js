// Frames and masks from the server, cached.

import { state } from "./state.js";

const ROOM = 200 << 20;          // bytes of decoded frames
const pictures = new Map();      // index -> Promise of ImageBitmap, oldest first
const masks = new Map();         // index -> runs (ArrayBuffer) or a Promise of them, oldest first
const MASKS = 600;

export function picture(index) {
  let found = pictures.get(index);
  if (found) {
    pictures.delete(index);
  } else {
    const wanted = found = load(index);
    found.catch(() => { if (pictures.get(index) === wanted) pictures.delete(index); });
    const { width, height } = state.video;
    const most = Math.max(6, Math.floor(ROOM / (4 * width * height)));   // at least 6, so that the frame in view is never dropped
    while (pictures.size >= most) {
      const [oldest, bitmap] = pictures.entries().next().value;
      pictures.delete(oldest);
      bitmap.then((image) => image.close(), () => {});
    }
  }
  pictures.set(index, found);
  return found;
}

// The server's response. Throws an Error with its message if it fails, and a TypeError, as `fetch` does, if it is unreachable.
async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

const load = async (index) => createImageBitmap(await (await ask(`frame/${index}`)).blob());

// The current runs of a frame's label map; null if it has none.
export async function mask(index) {
  for (;;) {
    const wanted = newest(index), runs = await wanted;
    if (newest(index) === wanted) return runs;   // otherwise it changed in the meantime
  }
}

function newest(index) {
  if (!state.frames.has(index)) return null;
  if (!masks.has(index)) {
    const wanted = ask(`labels/${index}`).then((answer) => answer.arrayBuffer());
    wanted.catch(() => { if (masks.get(index) === wanted) masks.delete(index); });
    keepMask(index, wanted);
  }
  return masks.get(index);
}

export function keepMask(index, runs) {
  masks.delete(index);
  if (!runs) return;
  masks.set(index, runs);
  if (masks.size > MASKS) masks.delete(masks.keys().next().value);
}

export function forgetMasks() {
  masks.clear();
}
