// Asks GitHub's own parser (npm @actions/languageserver) about workflows and actions, over the Language Server Protocol on stdio.
// Usage: node parser.mjs SERVER ROOT FILE…   Prints one JSON document: [{file, line, text}], lines from 1.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const [server, root, ...files] = process.argv.slice(2);
const child = spawn(process.execPath, [server, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const waiting = new Set(files);
const found = [];

function send(message) {
  const body = JSON.stringify({ jsonrpc: "2.0", ...message });
  child.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

// Newer than the newest that is published of it: https://github.blog/changelog/2026-09-10-control-github-actions-cache-access-with-cache-mode
function known(text) {
  return text.replace(/^( *)cache-mode: (none|read|write|write-only)\b/gm, "$1#");
}

// It accepts `uses: $/…` but looks only behind `./` for the workflow that is called, whose inputs and outputs it then knows.
function open(file) {
  const text = known(readFileSync(file, "utf8")).replace(/(uses: +)\$(\/\.github\/workflows\/)/g, "$1.$2");
  const textDocument = { uri: pathToFileURL(file).href, languageId: "yaml", version: 1, text };
  send({ method: "textDocument/didOpen", params: { textDocument } });
}

// The server asks us, too: for its configuration, and for the reusable workflows that a file calls.
function answer({ method, params }) {
  if (method === "workspace/configuration") return params.items.map(() => ({}));
  if (method === "actions/readFile") {
    try {
      return known(readFileSync(fileURLToPath(params.path), "utf8"));
    } catch {
      return null;
    }
  }
  return null;
}

function received(message) {
  if (message.id === 0 && message.result) {
    send({ method: "initialized", params: {} });
    files.forEach(open);
  } else if (message.method === "textDocument/publishDiagnostics") {
    const file = fileURLToPath(message.params.uri);
    if (!waiting.delete(file)) return;
    for (const { range, message: text } of message.params.diagnostics) found.push({ file, line: range.start.line + 1, text });
    if (waiting.size === 0) finish();
  } else if (message.id !== undefined && message.method) {
    send({ id: message.id, result: answer(message) });
  }
}

function finish() {
  process.stdout.write(JSON.stringify(found), () => process.exit(0));
}

function fail(text) {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

let buffer = Buffer.alloc(0);
child.stdout.on("data", (data) => {
  buffer = Buffer.concat([buffer, data]);
  for (;;) {
    const end = buffer.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, end))[1]);
    if (buffer.length < end + 4 + length) return;
    const body = buffer.subarray(end + 4, end + 4 + length);
    buffer = buffer.subarray(end + 4 + length);
    received(JSON.parse(body));
  }
});
child.on("exit", (status) => fail(`the language server ended early, with status ${status}`));
process.on("exit", () => child.kill());
setTimeout(() => fail(`the language server said nothing of ${[...waiting].join(", ")} for a minute`), 60_000).unref();
send({
  id: 0,
  method: "initialize",
  params: {
    processId: process.pid,
    rootUri: pathToFileURL(root).href,
    capabilities: {},
    // It reads the files that others name only in a repository that it was told of.
    initializationOptions: {
      repos: [{ id: 1, owner: "local", name: "local", organizationOwned: false, workspaceUri: pathToFileURL(root).href }],
      logLevel: 0,
    },
  },
});
