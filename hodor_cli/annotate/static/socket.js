// The connection to the server. It sends events: a line of JSON, followed by bytes for masks.

const handlers = new Map();
let socket = null;
let taking = false;
let ended = false;   // another tab has the project: do not reconnect until the user asks for it

export function onEvent(name, handler) {
  handlers.set(name, handler);
}

export function happen(name, ...details) {
  handlers.get(name)?.(...details);
}

export function connect({ take = false } = {}) {
  taking = take;
  ended = false;
  if (socket) { socket.onclose = null; socket.close(); }
  const url = new URL("socket", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => send({ do: "hello", take: taking });
  socket.onmessage = ({ data }) => receive(data);
  socket.onclose = () => {
    if (ended) return;
    happen("offline");
    setTimeout(connect, 1000);
  };
}

// Close the connection, because another tab has the project.
export function leave() {
  ended = true;
}

export function send(message, payload = null) {
  if (socket?.readyState !== WebSocket.OPEN) { happen("unsent"); return false; }
  happen("sent", message);
  const line = JSON.stringify(message);
  if (!payload) socket.send(line);
  else socket.send(new Blob([line, "\n", payload]));
  return true;
}

function receive(data) {
  let payload = null;
  let line = data;
  if (typeof data !== "string") {
    const bytes = new Uint8Array(data);
    const end = bytes.indexOf(10);
    line = new TextDecoder().decode(bytes.subarray(0, end));
    payload = data.slice(end + 1);   // a copy, so that 32-bit numbers are aligned
  }
  const event = JSON.parse(line);
  happen(event.event, event, payload);
}
