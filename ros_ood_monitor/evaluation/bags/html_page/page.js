'use strict';
(() => {
const data = JSON.parse(document.getElementById('data').textContent);
const at = (id) => document.getElementById(id);
// Plotly reads markup in texts
const safe = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#B8A800', '#7A7A7A'];
const THRESHOLD = '#D55E00';
const BANDS = {label: 'rgba(0,114,178,.55)', alert: 'rgba(230,159,0,.38)', wrong: 'rgba(213,94,0,.5)'};
// of all shapes only the first one, the threshold, takes the mouse: see the style sheet
const CONFIG = {
  responsive: true, displaylogo: false, edits: {shapePosition: true},
  modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']],
};

// --- looks ---------------------------------------------------------------------------------------
const plots = [];
let onPaper = false;

function look() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return onPaper ? {ink: '#000', line: '#ccc', paper: '#fff'}
    : {ink: of('--ink'), line: of('--line'), paper: of('--paper')};
}

function draw(id, traces, layout) {
  const colours = look();
  const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name));
  for (const name of axes) {
    Object.assign(layout[name], {
      gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true,
    });
  }
  const whole = Object.assign({
    font: {family: 'system-ui,sans-serif', size: 12, color: colours.ink},
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    margin: {l: 60, r: 16, t: 10, b: 44}, showlegend: false,
    hoverlabel: {bgcolor: colours.paper, font: {color: colours.ink}},
    modebar: {bgcolor: 'rgba(0,0,0,0)', color: '#888', activecolor: colours.ink},
  }, layout);
  const node = at(id);
  // what watches the window takes its size from the node
  node.style.height = `${layout.height}px`;
  Plotly.newPlot(node, traces, whole, CONFIG);
  plots.push({node, axes});
  return node;
}

function restyle(widthOf) {
  const colours = look();
  for (const {node, axes} of plots) {
    const change = {'font.color': colours.ink, 'hoverlabel.bgcolor': colours.paper,
                    'hoverlabel.font.color': colours.ink, 'modebar.activecolor': colours.ink, ...widthOf(node)};
    for (const name of axes) {
      for (const key of ['gridcolor', 'zerolinecolor', 'linecolor']) change[`${name}.${key}`] = colours.line;
    }
    Plotly.relayout(node, change);
  }
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => restyle(() => ({})));
addEventListener('beforeprint', () => {
  onPaper = true;
  restyle((node) => ({autosize: false, width: node.closest('.grid') ? 320 : 660}));
});
addEventListener('afterprint', () => {
  onPaper = false;
  restyle(() => ({autosize: true, width: null}));
});

// --- pictures ------------------------------------------------------------------------------------
const viewer = at('viewer');
let shown = 0, hasHeat = true;

function show(place) {
  shown = (place + data.pictures.length) % data.pictures.length;
  const picture = data.pictures[shown];
  at('view-image').src = hasHeat && picture.heat ? picture.heat : picture.jpeg;
  at('view-image').alt = at('view-text').textContent = picture.text;
  at('view-heat').hidden = !picture.heat;
  at('view-heat').textContent = hasHeat ? 'Without heat-map (h)' : 'With heat-map (h)';
  if (!viewer.open) viewer.showModal();
}
function toggle() { hasHeat = !hasHeat; show(shown); }

for (const image of document.querySelectorAll('img[data-picture]')) {
  const picture = data.pictures[image.dataset.picture];
  image.src = picture.heat || picture.jpeg;
  image.closest('button').addEventListener('click', () => show(+image.dataset.picture));
}
at('view-next').addEventListener('click', () => show(shown + 1));
at('view-previous').addEventListener('click', () => show(shown - 1));
at('view-heat').addEventListener('click', toggle);
at('view-close').addEventListener('click', () => viewer.close());
viewer.addEventListener('keydown', (event) => {
  const does = {ArrowRight: () => show(shown + 1), ArrowLeft: () => show(shown - 1), h: toggle}[event.key];
  if (does) { does(); event.preventDefault(); }
});

// --- the alert rule, frame by frame as the monitor runs it -----------------------------------------
const NORMAL = 0, SUSPECT = 1, ALERT = 2, FAULTED = 3;
const JUDGED = 4, FAULT = 8, AFTER_GAP = 16, ID = 1, OOD = 2;
const explorer = data.explorer;

function unpack(stream) {
  const bytes = Uint8Array.from(atob(stream.packed), (letter) => letter.charCodeAt(0));
  const n = stream.frames;
  return {
    n, stamp: new Float64Array(bytes.buffer, 0, n), score: new Float64Array(bytes.buffer, 8 * n, n),
    flags: new Uint8Array(bytes.buffer, 16 * n, n),
  };
}

function run(stream, trigger, rule) {
  const release = Math.min(rule.release, trigger);
  const isAlert = new Uint8Array(stream.n), began = new Uint32Array(stream.n);
  let state = NORMAL, count = 0, first = NaN, last = NaN;
  let isOpen = false, left = -Infinity, alerts = 0, falseAlerts = 0;
  for (let i = 0; i < stream.n; i++) {
    const stamp = stream.stamp[i], score = stream.score[i], flags = stream.flags[i];
    let changed = false;
    if (flags & AFTER_GAP) { state = NORMAL; count = 0; last = NaN; }
    if (flags & FAULT) {
      state = FAULTED; count = 0;
    } else if (flags & JUDGED) {
      const gap = stamp - last;
      if (state === FAULTED || gap < 0 || gap > rule.stale_after) { state = NORMAL; count = 0; }
      last = stamp;
      if (state === ALERT ? score >= release : score <= trigger) {
        count = 0;
        if (state !== ALERT) state = NORMAL;
      } else {
        if (!count) first = stamp;
        count++;
        if (state === ALERT) {
          if (count >= rule.release_frames && stamp - first >= rule.release_seconds) { state = NORMAL; count = 0; }
        } else if (count >= rule.trigger_frames && stamp - first >= rule.trigger_seconds) {
          state = ALERT; changed = true; count = 0;
        } else {
          state = SUSPECT;
        }
      }
    }
    // alerts as people count them: one that begins soon after the last one is the same
    const wasOpen = isOpen;
    if (state === ALERT) {
      isAlert[i] = 1;
      began[i] = changed || !i || !isAlert[i - 1] ? i : began[i - 1];
    }
    if (changed || state === NORMAL) isOpen = false;
    if (changed || (state === ALERT && !wasOpen)) {
      const since = stamp - left;
      if (!(rule.refractory > 0 && since >= 0 && since <= rule.refractory)) {
        alerts++;
        if ((flags & 3) === ID) falseAlerts++;
      }
      isOpen = true;
    }
    if (state === ALERT || (wasOpen && state === NORMAL)) left = stamp;
  }
  return {isAlert, began, alerts, falseAlerts};
}

const streams = explorer ? explorer.streams.map(unpack) : [];
const events = explorer ? explorer.events : [];

function median(values) {
  if (!values.length) return null;
  const sorted = values.slice().sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// the rate at which so few alerts, or fewer, come in one of twenty runs
function upperCount(alerts) {
  const chance = (mean) => {
    let term = Math.exp(-mean), sum = term;
    for (let k = 1; k <= alerts; k++) { term *= mean / k; sum += term; }
    return sum;
  };
  let low = 0, high = alerts + 10 * Math.sqrt(alerts + 1) + 10;
  if (high > 700) return alerts + 1.645 * Math.sqrt(alerts) + 2;
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (chance(middle) > 0.05) low = middle; else high = middle;
  }
  return high;
}

function judge(threshold) {
  const runs = streams.map((stream) => run(stream, threshold, explorer.rule));
  const delays = [];
  let found = 0;
  for (const event of events) {
    const {isAlert, began} = runs[event.stream], {stamp, flags} = streams[event.stream];
    // an alert that was on over in-distribution frames before tells nothing of the event
    let from = event.first;
    while (from > 0 && isAlert[from - 1] && (flags[from - 1] & 3) !== ID) from--;
    let hit = event.first;
    while (hit < event.until && !(isAlert[hit] && began[hit] >= from)) hit++;
    if (hit === event.until) continue;
    found++;
    if (stamp[began[hit]] >= event.start - explorer.margin) delays.push(Math.max(0, stamp[hit] - event.start));
  }
  let idOver = 0, oodOver = 0;
  for (const {n, score, flags} of streams) {
    for (let i = 0; i < n; i++) {
      if (score[i] > threshold && flags[i] & JUDGED) {
        if ((flags[i] & 3) === ID) idOver++; else if ((flags[i] & 3) === OOD) oodOver++;
      }
    }
  }
  const sum = (key) => runs.reduce((total, one) => total + one[key], 0);
  const falseAlerts = sum('falseAlerts'), hours = explorer.hours;
  return {
    threshold, alerts: sum('alerts'), falseAlerts, found, events: events.length, delay: median(delays),
    perHour: hours > 0 ? falseAlerts / hours : null,
    upper: hours > 0 ? upperCount(falseAlerts) / hours : null,
    idOver: explorer.id_frames ? idOver / explorer.id_frames : null,
    oodOver: explorer.ood_frames ? oodOver / explorer.ood_frames : null,
  };
}

// --- curves --------------------------------------------------------------------------------------
const line = (axis, value) => ({
  type: 'line', line: {color: THRESHOLD, width: 2, dash: 'dash'},
  ...(axis === 'x' ? {x0: value, x1: value, y0: 0, y1: 1, yref: 'paper'}
    : {y0: value, y1: value, x0: 0, x1: 1, xref: 'paper'}),
});
const band = (span, colour, from, to) => ({
  type: 'rect', x0: span[0], x1: span[1], y0: from, y1: to, yref: 'paper', fillcolor: colour,
  line: {width: 0}, layer: 'below',
});
const lines = [];  // [node, axis] of every plot with the threshold in it

data.timelines.forEach((one, k) => {
  const marks = data.pictures.map((picture, place) => ({...picture, place}))
    .filter((picture) => picture.stream === k);
  const top = Math.max(...one.y.filter((value) => value !== null));
  const low = Math.min(...one.y.filter((value) => value !== null));
  const isTall = low > 0 && data.threshold > 0 && top > 50 * data.threshold;
  const node = draw(`time-${k}`, [
    {x: one.x, y: one.y, mode: one.x.length > 300 ? 'lines' : 'lines+markers', marker: {size: 4},
     line: {color: COLOURS[0], width: 1.2}, hovertemplate: '%{x:.2f} s: %{y:.5g}<extra></extra>'},
    {x: marks.map((mark) => mark.time), y: marks.map((mark) => mark.raw_score), mode: 'markers',
     marker: {symbol: 'diamond', size: 11, color: COLOURS[2], line: {color: '#fff', width: 1}},
     hovertemplate: '%{x:.2f} s: %{y:.5g}, click for the picture<extra></extra>'},
  ], {
    height: 240,
    xaxis: {title: {text: 's from the first image of the bag'}},
    yaxis: {title: {text: 'raw_score'}, ...(isTall ? {type: 'log'} : {})},
    shapes: [
      line('y', data.threshold),
      ...one.labels.map((span) => band(span, BANDS.label, 0.9, 1)),
      ...one.alerts.map((span) => band(span, span[2] ? BANDS.wrong : BANDS.alert, 0, 0.9)),
    ],
  });
  node.on('plotly_click', (event) => {
    // the curve runs through the mark, and may be what was hit
    const {xaxis, yaxis} = node._fullLayout, hit = event.points[0];
    const isNear = (mark) => Math.hypot(
      xaxis.d2p(mark.time) - xaxis.d2p(hit.x), yaxis.d2p(mark.raw_score) - yaxis.d2p(hit.y)) < 8;
    const mark = marks.find(isNear);
    if (mark) show(mark.place);
  });
  lines.push([node, 'y']);
});

const sets = data.histogram.sets;
const spread = draw('histogram', sets.map((set, k) => ({
  type: 'bar', x: data.histogram.x, y: set.share.map((share) => 100 * share), width: data.histogram.width,
  name: safe(`${set.name} (${set.frames})`), marker: {color: COLOURS[k % COLOURS.length], opacity: 0.6},
  hovertemplate: '%{x:.4g}: %{y:.2f} %<extra>%{fullData.name}</extra>',
})), {
  height: 300, barmode: 'overlay', bargap: 0, showlegend: true, legend: {orientation: 'h', y: 1.15},
  xaxis: {title: {text: safe(data.unit ? `raw_score [${data.unit}]` : 'raw_score')}},
  yaxis: {title: {text: 'share of frames [%]'}}, shapes: [line('x', data.threshold)],
});
lines.push([spread, 'x']);

if (data.curves.length) {
  const traces = (x, y) => data.curves.map((curve, k) => ({
    x: curve[x], y: curve[y], mode: 'lines', name: safe(curve.name),
    line: {color: COLOURS[k % COLOURS.length], width: k ? 1.4 : 2.2},
    hovertemplate: '%{x:.4f}, %{y:.4f}<extra>%{fullData.name}</extra>',
  }));
  const several = data.curves.length > 1;
  draw('roc', traces('fpr', 'tpr'), {
    height: 320, showlegend: several, legend: {x: 1, xanchor: 'right', y: 0},
    xaxis: {title: {text: 'share of in-distribution frames over'}, range: [-0.02, 1.02]},
    yaxis: {title: {text: 'share of OOD frames over'}, range: [-0.02, 1.02]},
  });
  draw('precision', traces('tpr', 'precision'), {
    height: 320, showlegend: several, legend: {x: 0, y: 0},
    xaxis: {title: {text: 'recall: share of OOD frames over'}, range: [-0.02, 1.02]},
    yaxis: {title: {text: 'precision'}, range: [-0.02, 1.02]},
  });
}

// --- explorer ------------------------------------------------------------------------------------
if (explorer) {
  const STEPS = 400, TOO_SHORT = 'too short for a rate', isShort = explorer.hours < 1 / 6;
  const answers = streams.flatMap((stream) => Array.from(stream.score)).filter(Number.isFinite);
  const everything = Float64Array.from([...answers, explorer.threshold]).sort();
  const quantile = (share) => everything[Math.min(everything.length - 1, Math.floor(share * everything.length))];
  const high = everything[everything.length - 1];
  const low = Math.min(explorer.floor === null ? everything[0] : explorer.floor, explorer.threshold);
  const choices = new Set([low, explorer.threshold, high]);
  // half of the way by scores, half by how many frames have them
  for (let k = 0; k <= STEPS / 2; k++) {
    choices.add(low + (2 * k / STEPS) * (high - low));
    choices.add(Math.max(low, quantile(2 * k / STEPS)));
  }
  const thresholds = Array.from(choices).sort((a, b) => a - b);
  const slider = at('threshold-slider'), box = at('threshold-value');
  slider.max = thresholds.length - 1;

  const every = Math.max(1, Math.ceil(thresholds.length * Math.max(1, everything.length / 50000) / 120));
  const looked = thresholds.filter((value, k) => k % every === 0 || value === explorer.threshold).map(judge);
  const curve = (key, name, axis, colour, factor = 1) => ({
    x: looked.map((one) => one.threshold), y: looked.map((one) => one[key] === null ? null : factor * one[key]),
    mode: 'lines', line: {shape: 'hv', color: colour}, yaxis: axis,
    hovertemplate: `threshold %{x:.5g}: %{y:.4g} ${name}<extra></extra>`,
  });
  const share = looked.map((one) => ({...one, share: one.events ? one.found / one.events : null}));
  const tradeOff = draw('trade-off', [
    isShort ? curve('falseAlerts', 'false alerts', 'y', COLOURS[1])
      : curve('perHour', 'false alerts an hour', 'y', COLOURS[1]),
    {...curve('found', '% of events found', 'y2', COLOURS[0]),
     y: share.map((one) => one.share === null ? null : 100 * one.share)},
    curve('delay', 's to the alert', 'y3', COLOURS[2]),
  ], {
    height: 420,
    xaxis: {title: {text: 'threshold'}, anchor: 'y3'},
    yaxis: {title: {text: isShort ? 'false alerts' : 'false alerts/h'}, domain: [0.7, 1], rangemode: 'tozero'},
    yaxis2: {title: {text: 'found [%]'}, domain: [0.36, 0.64], range: [-4, 104]},
    yaxis3: {title: {text: 'median delay [s]'}, domain: [0, 0.3], rangemode: 'tozero'},
    shapes: [line('x', explorer.threshold)],
  });
  lines.push([tradeOff, 'x']);

  let current = explorer.threshold, isMoving = false;
  const text = (value, digits, unit = '') => value === null || value === undefined ? '\u2013'
    : `${Number(value).toFixed(digits)}${unit}`;
  const fill = (prefix, one) => {
    at(`${prefix}-threshold`).textContent = one.threshold.toPrecision(5);
    at(`${prefix}-false`).textContent = one.falseAlerts;
    at(`${prefix}-rate`).textContent = isShort ? TOO_SHORT : text(one.perHour, 3);
    at(`${prefix}-upper`).textContent = isShort ? TOO_SHORT : text(one.upper, 3);
    at(`${prefix}-found`).textContent = `${one.found} of ${one.events}`;
    at(`${prefix}-delay`).textContent = text(one.delay, 3, ' s');
    at(`${prefix}-id`).textContent = text(one.idOver === null ? null : 100 * one.idOver, 2, ' %');
    at(`${prefix}-ood`).textContent = text(one.oodOver === null ? null : 100 * one.oodOver, 2, ' %');
  };
  const nearest = (value) => {
    let best = 0;
    thresholds.forEach((one, k) => { if (Math.abs(one - value) < Math.abs(thresholds[best] - value)) best = k; });
    return best;
  };
  function move(value, {isFromSlider = false} = {}) {
    if (!Number.isFinite(value)) return;
    current = Math.max(low, value);
    if (!isFromSlider) slider.value = nearest(current);
    slider.setAttribute('aria-valuetext', `threshold ${current.toPrecision(5)}`);
    box.value = current;
    fill('now', judge(current));
    isMoving = true;
    Promise.all(lines.map(([node, axis]) => {
      const isLog = axis === 'y' && node.layout.yaxis.type === 'log';
      if (isLog && current <= 0) return null;
      const other = axis === 'x' ? 'y' : 'x';  // a hand that drags the line is not steady
      return Plotly.relayout(node, {
        [`shapes[0].${axis}0`]: current, [`shapes[0].${axis}1`]: current,
        [`shapes[0].${other}0`]: 0, [`shapes[0].${other}1`]: 1,
      });
    })).finally(() => { isMoving = false; });
  }
  fill('set', judge(explorer.threshold));
  move(explorer.threshold);
  let isWaiting = false;
  slider.addEventListener('input', () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; move(thresholds[+slider.value], {isFromSlider: true}); });
  });
  box.addEventListener('change', () => move(parseFloat(box.value)));
  at('threshold-back').addEventListener('click', () => move(explorer.threshold));
  for (const [node, axis] of lines) {
    node.on('plotly_relayout', (change) => {
      if (isMoving || !Object.keys(change).some((key) => key.startsWith('shapes[0]'))) return;
      // an end of the line may have been caught instead of its middle
      const ends = [change[`shapes[0].${axis}0`], change[`shapes[0].${axis}1`]];
      const moved = ends.find((value) => value !== undefined && +value !== current);
      move(moved === undefined ? current : +moved);
    });
  }
  window.oodReport = {judge, move, get threshold() { return current; }};
}
document.body.dataset.ready = 'yes';
})();
