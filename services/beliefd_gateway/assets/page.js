"use strict";

const WINDOW_S = 120;
const SHORTEST_S = 30;
const LINES = 8;
const BREAK_S = 3;
const COLOURS = ["#2563eb", "#d97706", "#059669", "#c026a3", "#7c3aed", "#0891b2", "#5b8a0c", "#dc2626"];
const AXIS = { gridcolor: "#edf0f4", zeroline: false, linecolor: "#dde3ea", tickfont: { size: 11, color: "#5d6b7c" } };
const LAYOUT = {
  margin: { l: 56, r: 8, t: 8, b: 30 }, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  font: { family: getComputedStyle(document.documentElement).fontFamily }, hovermode: "closest",
};
const CONFIG = { displayModeBar: false, responsive: true };
const METRICS = { steps: "steps_per_s", vfe: "vfe_mean", entropy: "entropy_mean" };

const series = new Map(); // uid -> { colour, told_s, points: [[time_s, steps, vfe, entropy], ...] }
const cpu = new Map(); // worker name -> { pid, time_s, cpu_s, share }
let chosen = null;
let newest = null;
let drawing = false;
let retry_ms = 500;

const element = (id) => document.getElementById(id);
const show = (id, visible) => { element(id).hidden = !visible; };

function number(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

function rate(value) {
  if (value >= 1e6) return number(value / 1e6, 2) + " M";
  if (value >= 1e4) return number(value / 1e3, 1) + " k";
  return number(value);
}

function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onmessage = (message) => {
    retry_ms = 500;
    show("trouble", false);
    take(JSON.parse(message.data));
  };
  socket.onclose = (event) => {
    element("trouble").textContent =
      `The gateway cannot be reached${event.reason ? ` (${event.reason})` : ""}. Trying again; stepping is not affected.`;
    show("trouble", true);
    setTimeout(connect, retry_ms);
    retry_ms = Math.min(retry_ms * 1.5, 5000);
  };
}

function take(frame) {
  newest = frame;
  const there = new Set(frame.populations.map((population) => population.uid));
  for (const uid of series.keys()) if (!there.has(uid)) series.delete(uid);
  const shown = [...frame.populations].sort((a, b) => b.steps_per_s - a.steps_per_s);
  for (const population of shown) {
    if (!series.has(population.uid) && series.size < LINES) follow(population);
    const line = series.get(population.uid);
    if (line) append(line, population, frame.time_s);
  }
  if (!there.has(chosen)) chosen = shown.length ? shown[0].uid : null;
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(newest); });
  }
}

/** Begin a line, with what the database remembers of it. */
function follow(population) {
  const used = new Set([...series.values()].map((line) => line.colour));
  const line = { colour: COLOURS.find((colour) => !used.has(colour)), told_s: 0, points: [] };
  series.set(population.uid, line);
  const since = Math.max(newest.time_s - WINDOW_S, 0);
  fetch(`/api/populations/${encodeURIComponent(population.name)}/telemetry?since=${since}&limit=1000`)
    .then((answer) => (answer.ok ? answer.json() : { points: [] }))
    .then(({ points }) => {
      const first = line.points.length ? line.points[0][0] : Infinity;
      const older = points.filter((point) => point.time_s < first)
        .map((point) => [point.time_s, point.agent_steps / Math.max(point.interval_s, 1e-3), point.vfe_mean, point.entropy_mean]);
      line.points = older.concat(line.points);
    })
    .catch(() => {}); // without the past the line begins now
}

function append(line, population, time_s) {
  const { points } = line;
  if (population.told_s !== null && population.told_s > line.told_s) {
    line.told_s = population.told_s;
    if (time_s - population.told_s < WINDOW_S) {
      const values = [population.steps_per_s, population.vfe_mean, population.entropy_mean];
      if (!points.length || points[points.length - 1][0] < population.told_s) points.push([population.told_s, ...values]);
    }
  } else if (population.steps_per_s === 0 && (!points.length || time_s - points[points.length - 1][0] > 1)) {
    points.push([time_s, 0, null, null]);
  }
  while (points.length && points[0][0] < time_s - WINDOW_S) points.shift();
}

function draw(frame) {
  drawBroker(frame.broker);
  const ready = frame.workers.filter((worker) => worker.state === "ready" || worker.state === "busy");
  element("total-steps").textContent = rate(frame.populations.reduce((sum, p) => sum + p.steps_per_s, 0));
  element("total-agents").textContent = number(frame.populations.reduce((sum, p) => sum + p.agents, 0));
  element("total-populations").textContent = number(frame.populations.length);
  element("total-workers").textContent = `${ready.length} of ${frame.workers.length}`;
  element("total-open").textContent = number(frame.broker.open_requests);
  drawWorkers(frame);
  show("no-populations", frame.populations.length === 0);
  show("some-populations", frame.populations.length > 0);
  if (frame.populations.length) {
    drawTable(frame);
    drawLines(frame);
    drawActions(frame.populations.find((population) => population.uid === chosen));
  }
}

function drawBroker(broker) {
  const pill = element("broker");
  pill.className = `pill ${broker.up ? (broker.ready ? "good" : "waiting") : "bad"}`;
  if (!broker.up) pill.textContent = "The broker is not running";
  else pill.textContent = broker.ready ? `Serving, ${number(broker.sessions)} sessions` : "No worker is ready";
}

function drawWorkers(frame) {
  show("no-workers", frame.workers.length === 0);
  element("workers").replaceChildren(...frame.workers.map((worker) => {
    const tile = node("li", undefined, `worker ${worker.state}`);
    tile.dataset.worker = worker.name;
    const title = node("b");
    title.append(node("span", worker.name), node("span", worker.state === "greeted" ? "starting" : worker.state, "state"));
    const facts = worker.lost_s !== null
      ? `process ${worker.pid} ended ${number(Math.max(frame.time_s - worker.lost_s, 0))} s ago`
      : `${number(cpuShare(worker, frame.time_s) * 100)}% CPU, ${number(worker.rss_bytes / 2 ** 20)} MB`;
    const restarts = worker.restarts ? `, restarted ${number(worker.restarts)}×` : "";
    tile.append(title, node("p", facts), node("p", `${number(worker.batches)} batches${restarts}`));
    return tile;
  }));
}

function cpuShare(worker, time_s) {
  const before = cpu.get(worker.name);
  if (!before || before.pid !== worker.pid) {
    cpu.set(worker.name, { pid: worker.pid, time_s, cpu_s: worker.cpu_s, share: 0 });
    return 0;
  }
  if (time_s - before.time_s >= 1) {
    before.share = (worker.cpu_s - before.cpu_s) / (time_s - before.time_s);
    before.time_s = time_s;
    before.cpu_s = worker.cpu_s;
  }
  return before.share;
}

function drawTable(frame) {
  const rows = frame.populations.slice(0, 100);
  show("more-populations", frame.populations.length > rows.length);
  element("more-populations").textContent = `and ${number(frame.populations.length - rows.length)} more`;
  element("populations").replaceChildren(...rows.map((population) => {
    const row = node("tr", undefined, population.uid === chosen ? "chosen" : "");
    const choose = node("button");
    const swatch = node("span", undefined, "swatch");
    const line = series.get(population.uid);
    if (line) swatch.style.background = line.colour;
    choose.append(swatch, node("span", population.name));
    if (population.quarantined) choose.append(node("span", "quarantined", "flag"));
    choose.dataset.uid = population.uid;
    const name = node("td");
    name.append(choose);
    row.append(
      name, node("td", number(population.agents)), node("td", rate(population.steps_per_s)),
      node("td", number(population.vfe_mean, 3)), node("td", number(population.entropy_mean, 3)),
      node("td", population.num_states.join(" × ")), node("td", number(population.num_policies)),
    );
    return row;
  }));
}

function drawLines(frame) {
  const axis_end = new Date(frame.time_s * 1000);
  const first_s = Math.min(...[...series.values()].map((line) => (line.points.length ? line.points[0][0] : frame.time_s)));
  const axis_start = new Date(Math.max(frame.time_s - WINDOW_S, Math.min(first_s, frame.time_s - SHORTEST_S)) * 1000);
  const names = new Map(frame.populations.map((population) => [population.uid, population.name]));
  Object.keys(METRICS).forEach((metric, column) => {
    const traces = [...series].map(([uid, line]) => {
      const x = [], y = [];
      let last_s = null;
      for (const point of line.points) {
        if (last_s !== null && point[0] - last_s > BREAK_S) { x.push(new Date((last_s + 0.01) * 1000)); y.push(null); }
        x.push(new Date(point[0] * 1000));
        y.push(point[column + 1]);
        last_s = point[0];
      }
      return {
        x, y, name: names.get(uid), type: "scatter", mode: "lines", line: { color: line.colour, width: uid === chosen ? 3 : 2 },
        hovertemplate: "%{y:,.4~g}<extra>%{fullData.name}</extra>",
      };
    });
    const layout = {
      ...LAYOUT,
      xaxis: { ...AXIS, type: "date", range: [axis_start, axis_end], tickformat: "%H:%M:%S", nticks: 5 },
      yaxis: { ...AXIS, rangemode: metric === "vfe" ? "normal" : "tozero", tickformat: metric === "steps" ? "~s" : "", nticks: 6 },
    };
    Plotly.react(`chart-${metric}`, traces, layout, CONFIG);
  });
}

function drawActions(population) {
  element("chosen").textContent = population.name;
  const total = population.action_counts.reduce((sum, count) => sum + count, 0) || 1;
  const line = series.get(population.uid);
  const trace = {
    type: "bar", x: population.action_counts.map((_, action) => String(action)),
    y: population.action_counts.map((count) => count / total), marker: { color: line ? line.colour : COLOURS[0] },
    customdata: population.action_counts, hovertemplate: "action %{x}: %{customdata:,} (%{y:.1%})<extra></extra>",
  };
  const layout = {
    ...LAYOUT, bargap: 0.35,
    xaxis: { ...AXIS, type: "category", title: { text: "action", font: { size: 11 }, standoff: 4 } },
    yaxis: { ...AXIS, tickformat: ".0%", range: [0, 1], nticks: 5 },
  };
  Plotly.react("chart-actions", [trace], layout, CONFIG);
}

element("populations").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  chosen = button.dataset.uid;
  draw(newest);
});
connect();
