// The page: sends a layout as a job, follows it by events, and shows what came out.
"use strict";

const $ = (id) => document.getElementById(id);
const PICTURES = [
  ["target.png", "Target: what shall print", ""],
  ["mask.png", "Mask: what is written", ""],
  ["print.png", "Print: what the wafer gets", ""],
  ["whole.png", "The whole layout", "wide"],
  ["overview.png", "Images, edges and process window", "wide"],
];
const METRICS = [
  ["l2_nm2", "L2 error, nm²"],
  ["pvb_nm2", "PV band, nm²"],
  ["epe_violations", "EPE violations"],
  ["epe_mean_nm", "Mean EPE, nm"],
  ["shots", "Shots"],
];
let shown = null;
let stream = null;

const text = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : value ?? "–");
const element = (name, content, attributes = {}) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(content);
  return made;
};

// The error of an answer that is none, in the server's words.
async function answered(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `the server answered ${response.status}`);
  return body;
}

function complain(error) {
  $("problem").textContent = error?.message ?? "";
  $("problem").hidden = !error;
}

function query() {
  const fields = ["model", "tile", "halo", "layer", "cell", "pixel", "format"];
  const given = fields.map((name) => [name, $(name).value.trim()]).filter(([, value]) => value !== "");
  return new URLSearchParams(given);
}

async function send(event) {
  event.preventDefault();
  const button = $("form").querySelector("button");
  button.disabled = true;
  complain(null);
  try {
    const body = new FormData();
    body.append("layout", $("layout").files[0]);
    const job = await answered(await fetch(`v1/jobs?${query()}`, { method: "POST", body }));
    listed(job);
    watch(job.id);
  } catch (error) {
    complain(error);
  } finally {
    button.disabled = false;
  }
}

function watch(id) {
  stream?.close();
  shown = id;
  $("result").hidden = false;
  $("pictures").replaceChildren();
  $("metrics").hidden = true;
  stream = new EventSource(`v1/jobs/${id}/events`);
  const own = stream;
  const hear = (event) => show(JSON.parse(event.data));
  own.addEventListener("progress", hear);
  own.addEventListener("ended", (event) => {
    own.close();
    hear(event);
  });
}

function describe(job) {
  const { state, progress, error } = job;
  if (error) return `${job.layout} failed: ${error}`;
  if (state !== "running" || !progress) return `${job.layout} is ${state}`;
  return `${job.layout}: ${progress.phase}, ${progress.done} of ${progress.total}`;
}

function show(job) {
  listed(job);
  if (job.id !== shown) return;
  const ended = ["done", "failed", "cancelled"].includes(job.state);
  $("summary").textContent = describe(job);
  $("summary").className = job.state;
  $("progress").hidden = ended;
  $("progress").value = job.progress ? job.progress.done / Math.max(1, job.progress.total) : 0;
  $("cancel").hidden = ended;
  for (const name of ["mask", "report", "log"]) {
    $(name).hidden = job.state !== "done" && !(name === "log" && ended);
    $(name).href = `v1/jobs/${job.id}/${name}`;
  }
  if (job.state === "done") finished(job);
}

async function finished(job) {
  $("pictures").replaceChildren();
  for (const [file, caption, kind] of PICTURES) {
    const image = element("img", "", { alt: caption, src: `v1/jobs/${job.id}/${file}` });
    const figure = element("figure", image, { className: kind });
    figure.append(element("figcaption", caption));
    // Of a layout of many tiles there is no target of one field, and of one field no whole.
    image.addEventListener("error", () => figure.remove());
    $("pictures").append(figure);
  }
  const report = await answered(await fetch(`v1/jobs/${job.id}/report`)).catch(() => ({}));
  if (job.id !== shown || !report.after) return;
  const row = ([key, name]) => {
    const made = element("tr", element("th", name, { scope: "row" }));
    made.append(element("td", text(report.before?.[key])), element("td", text(report.after[key])));
    return made;
  };
  $("metrics").tBodies[0].replaceChildren(...METRICS.map(row));
  $("metrics").hidden = false;
}

// A job's line in the list; a new one goes first.
function listed(job) {
  let line = document.querySelector(`#jobs [data-job="${CSS.escape(job.id)}"]`);
  if (!line) {
    line = element("li", "");
    line.dataset.job = job.id;
    $("jobs").prepend(line);
  }
  const button = element("button", "show", { type: "button" });
  button.setAttribute("aria-label", `show ${job.layout}`);
  button.addEventListener("click", () => watch(job.id));
  const state = element("span", job.state, { className: job.state });
  const again = line.querySelector("button") === document.activeElement;
  line.replaceChildren(job.layout, state, button);
  if (again) button.focus();
}

// Load is the share of the time since the last news that a device computed.
let before = null;
function status(news) {
  const now = performance.now() / 1000;
  $("health").textContent = news.ready ? "ready" : "warming up";
  $("health").className = news.ready ? "good" : "";
  $("queued").textContent = news.jobs.queued;
  $("running").textContent = news.jobs.running;
  for (const device of news.devices) {
    const row = document.querySelector(`#devices [data-device="${CSS.escape(device.name)}"]`);
    if (!row) continue;
    const last = before?.devices.get(device.name) ?? device.busy_seconds;
    const load = before ? (device.busy_seconds - last) / Math.max(1e-3, now - before.at) : 0;
    row.cells[1].textContent = device.state;
    row.querySelector("meter").value = Math.min(1, Math.max(0, load));
    row.cells[3].textContent = text(device.items);
  }
  for (const model of news.models) {
    const row = document.querySelector(`#models [data-model="${CSS.escape(model.name)}"]`);
    if (!row) continue;
    row.cells[1].textContent = model.ready ? "ready" : "not ready";
    row.cells[2].textContent = text(model.answered);
    row.cells[3].textContent = text(model.waiting);
  }
  before = { at: now, devices: new Map(news.devices.map((d) => [d.name, d.busy_seconds])) };
}

function chosen() {
  const file = $("layout").files[0];
  $("chosen").textContent = file ? `${file.name}, ${text(file.size / 1024)} KiB` : "Drop a layout here, or choose a file";
}

function begin() {
  $("form").addEventListener("submit", send);
  $("layout").addEventListener("change", chosen);
  $("cancel").addEventListener("click", () => fetch(`v1/jobs/${shown}`, { method: "DELETE" }).catch(complain));
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    $("drop").addEventListener(name, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop") {
        $("layout").files = event.dataTransfer.files;
        chosen();
      }
    });
  }
  // What a server that knows its client lists.
  fetch("v1/jobs").then(answered).then((jobs) => jobs.reverse().forEach(listed)).catch(() => {});
  const load = new EventSource("v1/status/events");
  load.addEventListener("status", (event) => status(JSON.parse(event.data)));
  load.addEventListener("error", () => {
    $("health").textContent = "no connection";
    $("health").className = "bad";
  });
}

begin();
