'use strict';
(async () => {
const at = (id) => document.getElementById(id);
const status = (text, isBad = false) => { at('status').textContent = text; at('status').classList.toggle('bad', isBad); };
const data = await (await fetch('data')).json();
// times below are in s from the bag's first frame, in the file they are stamps
let labels = data.labels.map((one) => ({...one, start: one.start - data.start, end: one.end - data.start}));
const history = [];
const counted = (n) => `${n} label${n === 1 ? '' : 's'}`;
let camera = 0, place = 0, began = null, timer = null;
let view = [0, Math.max(data.duration, 1e-3)];

at('title').textContent = `Labels of ${data.bag}`;
data.cameras.forEach((one, k) => at('camera').add(new Option(one.name || one.topic, k)));

const now = () => data.cameras[camera].shown[place];
const isMine = (label) => !label.camera || [data.cameras[camera].topic, data.cameras[camera].name].includes(label.camera);
const firstFrom = (times, time) => {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
};
const nearest = (times, time) => {
  const next = firstFrom(times, time);
  return next && time - times[next - 1] < times[next] - time ? next - 1 : next;
};

async function save() {
  const rows = labels.map((one) => ({...one, start: one.start + data.start, end: one.end + data.start}));
  status('saving');
  try {
    const answer = await fetch('labels', {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(rows),
    });
    if (!answer.ok) throw new Error(await answer.text());
    status(`${counted((await answer.json()).saved)} saved in ${data.file}`);
  } catch (error) {
    status(`NOT saved: ${error.message}`, true);
  }
}

function change(next) {
  history.push(labels);
  labels = next.sort((a, b) => a.start - b.start);
  show();
  return save();
}

function show() {
  const shown = data.cameras[camera];
  at('picture').src = `picture?camera=${camera}&place=${place}`;
  at('time').textContent = `${now().toFixed(3)} s`;
  if (shown.scores.length) {
    const score = shown.scores[place];
    at('score').textContent = score === null ? 'no answer'
      : `raw_score ${score.toPrecision(5)}${score > data.threshold ? ', over the threshold' : ''}`;
  }
  const body = at('labels');
  body.replaceChildren(...labels.map((one) => {
    const row = document.createElement('tr');
    for (const text of [one.start.toFixed(3), one.end.toFixed(3), one.kind, one.camera || 'every']) {
      row.insertCell().textContent = text;
    }
    const button = document.createElement('button');
    button.textContent = 'Remove';
    button.addEventListener('click', (event) => { event.stopPropagation(); change(labels.filter((label) => label !== one)); });
    row.insertCell().append(button);
    row.classList.toggle('here', isMine(one) && one.start <= now() && now() < one.end);
    row.addEventListener('click', () => step(firstFrom(data.cameras[camera].shown, one.start) - place));
    return row;
  }));
  draw();
}

function draw() {
  const canvas = at('plot'), scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale; canvas.height = height * scale;
  const pen = canvas.getContext('2d'), {x, y} = data.cameras[camera];
  pen.scale(scale, scale);
  const ink = getComputedStyle(document.body).color;
  const across = (time) => (time - view[0]) / (view[1] - view[0]) * width;
  const band = (from, to, colour) => { pen.fillStyle = colour; pen.fillRect(across(from), 0, Math.max(1, across(to) - across(from)), height); };
  for (const one of labels) if (isMine(one)) band(one.start, one.end, 'rgba(0,114,178,.3)');
  if (began !== null) band(Math.min(began, now()), Math.max(began, now()), 'rgba(230,159,0,.4)');
  if (x.length) {
    const seen = y.filter((_, k) => x[k] >= view[0] && x[k] <= view[1]);
    const low = Math.min(data.threshold, ...seen), high = Math.max(data.threshold, ...seen);
    const up = (value) => height - 8 - (value - low) / (high - low || 1) * (height - 16);
    pen.strokeStyle = '#0072B2'; pen.beginPath();
    x.forEach((time, k) => pen.lineTo(across(time), up(y[k])));
    pen.stroke();
    pen.strokeStyle = '#D55E00'; pen.setLineDash([6, 4]); pen.beginPath();
    pen.moveTo(0, up(data.threshold)); pen.lineTo(width, up(data.threshold)); pen.stroke(); pen.setLineDash([]);
  }
  pen.strokeStyle = ink; pen.beginPath(); pen.moveTo(across(now()), 0); pen.lineTo(across(now()), height); pen.stroke();
}

function step(by) {
  place = Math.min(data.cameras[camera].shown.length - 1, Math.max(0, place + by));
  const margin = (view[1] - view[0]) / 2;
  if (now() < view[0] || now() > view[1]) view = [now() - margin, now() + margin];
  show();
}
const go = (time) => step(nearest(data.cameras[camera].shown, time) - place);
function begin() { began = now(); show(); }
function end() {
  if (began === null) { status('begin first (i)', true); return; }
  const {period, topic} = data.cameras[camera];
  // a frame at the end of a label is outside of it: the one shown is to be inside
  const label = {
    start: Math.min(began, now()) - period / 2, end: Math.max(began, now()) + period / 2, kind: at('kind').value.trim() || 'ood',
    camera: at('one-camera').checked ? topic : '',
  };
  began = null;
  change([...labels, label]);
}
function remove() {
  const here = labels.filter((one) => isMine(one) && one.start <= now() && now() < one.end);
  if (here.length) change(labels.filter((one) => one !== here[here.length - 1]));
}
function seek(way) {
  const {x, y} = data.cameras[camera];
  const starts = x.filter((_, k) => y[k] > data.threshold && (k === 0 || y[k - 1] <= data.threshold));
  const found = way > 0 ? starts.find((time) => time > now() + 1e-6) : starts.reverse().find((time) => time < now() - 1e-6);
  if (found !== undefined) go(found);
}
function zoom(by) {
  const width = Math.min(Math.max(data.duration, 1e-3), (view[1] - view[0]) * by);
  const from = Math.max(0, Math.min(now() - width / 2, data.duration - width));
  view = [from, from + width];
  draw();
}
function play() {
  if (timer) { clearInterval(timer); timer = null; } else timer = setInterval(() => step(1), 100);
  at('play').textContent = timer ? 'Stop (space)' : 'Play (space)';
}
function turn(next) { const time = now(); camera = next; place = 0; at('camera').value = next; go(time); }

const KEYS = {
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1), ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  Home: () => step(-Infinity), End: () => step(Infinity), i: begin, o: end, n: () => seek(1), p: () => seek(-1),
  c: () => turn((camera + 1) % data.cameras.length), k: () => at('kind').select(), Delete: remove, Backspace: remove,
  u: () => { if (history.length) { labels = history.pop(); show(); save(); } }, '+': () => zoom(0.5), '-': () => zoom(2), ' ': play,
};
addEventListener('keydown', (event) => {
  if (event.target === at('kind')) { if (event.key === 'Enter' || event.key === 'Escape') at('kind').blur(); return; }
  if (event.target.tagName === 'SELECT' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === ' ' && event.target.tagName === 'BUTTON') return;
  const does = KEYS[event.key];
  if (does) { does(event); event.preventDefault(); }
});
at('in').addEventListener('click', begin);
at('out').addEventListener('click', end);
at('play').addEventListener('click', play);
at('camera').addEventListener('change', () => { turn(+at('camera').value); at('camera').blur(); });
at('plot').addEventListener('click', (event) => go(view[0] + event.offsetX / at('plot').clientWidth * (view[1] - view[0])));
addEventListener('resize', draw);
show();
status(`${counted(labels.length)}, to be saved in ${data.file}`);
document.body.dataset.ready = 'yes';
})();
