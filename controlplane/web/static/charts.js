// Charts from columns of numbers, as the server says what each shows: straight lines and steps between decisions that
// were made, nothing smoothed, nothing in between invented. Each can be focused and read with the arrow keys.
const SVG = 'http://www.w3.org/2000/svg';
const LEFT = 62;
const RIGHT = 104;
const TOP = 12;
const BOTTOM = 26;
const LETTER = 6.5;
const LEAST_EVIDENCE = 0.01;

const store = new Map();
const drawn = new WeakMap();
let placing = false;

const share = (value) => `${+(100 * value).toPrecision(3)} %`;
const sign = (value) => (value < 0 ? '−' : '+');
const WRITTEN = {
  share,
  score: (value) => `${+value.toFixed(3)}`,
  points: (value) => `${sign(value)}${+Math.abs(100 * value).toPrecision(3)} pp`,
  signed: (value) => `${sign(value)}${+Math.abs(value).toFixed(3)}`,
  evidence: (value) => (value >= 1e6 ? `10^${Math.floor(Math.log10(value))}` : `${value >= 100 ? Math.round(value) : +value.toPrecision(3)}`),
  seconds: (s) => (s < 1 ? `${+(1000 * s).toPrecision(3)} ms` : `${+s.toPrecision(3)} s`),
  times: (value) => `${+value.toPrecision(3)}×`,
};
const duration = (s) => (s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${(s / 86400).toFixed(1)} d`);
const log = (value) => Math.log10(Math.max(value, LEAST_EVIDENCE));
const iso = (seconds) => new Date(seconds * 1000).toISOString();

/** Return what the server says that a figure shows, with how its numbers are written. */
function kindOf(figure) {
  const told = JSON.parse(figure.dataset.chart);
  return { limits: [], ...told, format: WRITTEN[told.number], scale: told.log ? log : (value) => value };
}

/** Return a moment of a chart: the clock's time, with the day where the chart covers more than one. */
function clock(kind, t, span) {
  if (kind.origin_s === undefined) return `${duration(t)} after each began`;
  const text = iso(kind.origin_s + t);
  return `${span > 86400 ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : text.slice(11, 19)} UTC`;
}

export function load(series) {
  for (const [name, columns] of Object.entries(series)) store.set(name, columns);
}

const lasting = Number(document.body.dataset.last ?? Infinity);

/** Add rows of decisions that are not yet there; what is older than the page shows goes. */
export function addRows(series) {
  for (const [name, columns] of Object.entries(series ?? {})) {
    const known = store.get(name);
    if (!known) { store.set(name, columns); continue; }
    const last = known.s.at(-1) ?? -1;
    const first = columns.s.findIndex((sequence) => sequence > last);
    if (first < 0) continue;
    for (const key of Object.keys(known)) known[key].push(...columns[key].slice(first));
    const old = known.t.findIndex((t) => t >= known.t.at(-1) - lasting);
    if (old > 0) for (const key of Object.keys(known)) known[key].splice(0, old);
  }
}

/** Return the numbers of the decisions that a series has a row for. */
export const rowsOf = (name) => store.get(name)?.s ?? [];

const resizing = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));
const seeing = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.dataset.seen = isIntersecting ? 'yes' : 'no';
    if (isIntersecting) draw(target);
  }
}, { rootMargin: '600px' });

/** Draw what can be seen, and whatever is scrolled to later; a figure may bring its own numbers. */
export function drawAll() {
  for (const figure of document.querySelectorAll('figure[data-chart]')) {
    const own = figure.querySelector('script[type="application/json"]');
    if (own) { store.set(figure.dataset.series, JSON.parse(own.textContent)); own.remove(); }
    if (drawn.has(figure)) { if (figure.dataset.seen === 'yes') draw(figure); continue; }
    drawn.set(figure, null);
    seeing.observe(figure);
    resizing.observe(figure);
  }
}

addEventListener('beforeprint', () => document.querySelectorAll('figure[data-chart]').forEach(draw));

export function element(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Return the path of a line; a missing value leaves a gap, a stepped line goes across and then up or down. */
function path(xs, ys, stepped) {
  let text = '';
  let pen = false;
  xs.forEach((x, row) => {
    const y = ys[row];
    if (y === null) { if (pen && stepped) text += `H${x.toFixed(1)}`; pen = false; return; }
    if (!pen) text += `M${x.toFixed(1)} ${y.toFixed(1)}`;
    else text += stepped ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return xs.length === 1 && text ? `${text}h0` : text; // one point is a dot
}

function extent(columns, kind) {
  const { scale } = kind;
  const names = [...kind.lines.map(({ column }) => column), ...(kind.band ?? [])];
  const shown = names.flatMap((name) => columns[name].filter((value) => value !== null));
  const all = [...shown, ...kind.limits.map(([, value]) => value), kind.floor, kind.ceiling].filter((value) => value !== undefined);
  let [low, high] = [Math.min(...all.map(scale)), Math.max(...all.map(scale))];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  return kind.floor === undefined ? [low - 0.06 * (high - low), high + 0.06 * (high - low)] : [low, high + 0.06 * (high - low)];
}

/** Move labels apart that would lie on one another. */
function spread(labels, height) {
  labels.sort((one, other) => one.y - other.y);
  for (let i = 1; i < labels.length; i += 1) labels[i].y = Math.max(labels[i].y, labels[i - 1].y + 14);
  let lowest = height - BOTTOM + 6;
  for (const label of labels.toReversed()) {
    label.y = Math.min(label.y, lowest);
    lowest = label.y - 14;
  }
}

export function draw(figure) {
  const columns = store.get(figure.dataset.series);
  const kind = kindOf(figure);
  const width = Math.max(figure.clientWidth, 240);
  if (!columns || !columns.t.length) { tellEmpty(figure); return; }
  const height = figure.classList.contains('large') ? 190 : 180;
  const { scale } = kind;
  const [low, high] = extent(columns, kind);
  const start = columns.t[0];
  const span = Math.max(columns.t.at(-1) - start, 1);
  const toX = (t) => LEFT + ((t - start) / span) * (width - LEFT - RIGHT);
  const toY = (value) => (value === null ? null : height - BOTTOM - ((scale(value) - low) / (high - low)) * (height - TOP - BOTTOM));
  const xs = columns.t.map(toX);
  const svg = element('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', tabindex: 0, 'aria-label': describe(columns, kind, columns.t.length - 1) });
  axes(svg, { columns, kind, width, height, toX, toY, low, high });
  const labels = [];
  if (kind.band) svg.append(element('path', { class: 'band', d: bandPath(xs, kind.band.map((name) => columns[name].map(toY))) }));
  for (const [label, value] of kind.limits) {
    svg.append(element('path', { class: 'dashed', d: `M${LEFT} ${toY(value).toFixed(1)}H${width - RIGHT}` }));
    labels.push({ y: toY(value) + 4, className: 'limit', text: value === 0 ? label : `${label} ${kind.format(value)}` });
  }
  for (const { label, column, style: className, stepped } of kind.lines) {
    const ys = columns[column].map(toY);
    const last = ys.findLast((y) => y !== null);
    if (last === undefined) continue;
    svg.append(element('path', { class: className === 'limit' ? 'dashed' : `line ${className}`, d: path(xs, ys, stepped) }));
    labels.push({ y: last + 4, className, text: label });
  }
  if (kind.breach) markBreaches(svg, columns, kind, xs, toY);
  spread(labels, height);
  for (const { y, className, text } of labels) svg.append(element('text', { class: className, x: width - RIGHT + 6, y: y.toFixed(1) }, text));
  place(figure, svg, { columns, kind, xs, height });
}

/** Mark the points at which a limit was broken. */
function markBreaches(svg, columns, { breach, limits: [[, limit]] }, xs, toY) {
  const beyond = (value) => value !== null && (breach.above ? value > limit : value < limit);
  columns[breach.columns[0]].forEach((value, row) => {
    if (!breach.columns.every((column) => beyond(columns[column][row]))) return;
    svg.append(element('circle', { class: 'breach', cx: xs[row].toFixed(1), cy: toY(value).toFixed(1), r: 3 }));
  });
}

function axes(svg, { columns, kind, width, height, toX, toY, low, high }) {
  svg.append(element('path', { class: 'axis', d: `M${LEFT} ${height - BOTTOM}H${width - RIGHT}` }));
  const ticks = kind.log ? powers(low, high) : rounds(low, high);
  for (const tick of ticks) {
    const y = toY(tick);
    svg.append(element('path', { class: 'axis', d: `M${LEFT - 4} ${y.toFixed(1)}H${LEFT}` }));
    svg.append(element('text', { x: LEFT - 8, y: (y + 4).toFixed(1), 'text-anchor': 'end' }, kind.format(tick)));
  }
  const [first, last] = [columns.t[0], columns.t.at(-1)];
  const [from, to] = [first, last].map((t) => clock(kind, t, last - first));
  const whole = kind.origin_s === undefined ? to : `${to} (${duration(last - first)})`;
  const tell = (t, anchor, text) => svg.append(element('text', { x: toX(t).toFixed(1), y: height - 8, 'text-anchor': anchor }, text));
  const hasRoom = (from.length + whole.length + 2) * LETTER < width - LEFT - RIGHT;
  if (hasRoom || last === first) tell(first, 'start', from);
  if (last > first) tell(last, 'end', whole);
}

function powers(low, high) {
  const all = [];
  const gap = Math.max(1, Math.ceil((high - low) / 4));
  for (let power = Math.ceil(low); power <= high; power += gap) all.push(10 ** power);
  return all;
}

/** Return round numbers in a range, some three of them. */
export function rounds(low, high) {
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const gap = power * [1, 2, 5, 10].find((times) => power * times >= rough);
  const all = [];
  for (let tick = Math.ceil(low / gap - 1e-9) * gap; tick <= high + 1e-9; tick += gap) all.push(+tick.toPrecision(6));
  return all;
}

function bandPath(xs, [lows, highs]) {
  const rows = xs.map((x, row) => [x, lows[row], highs[row]]).filter(([, below, above]) => below !== null && above !== null);
  if (!rows.length) return '';
  const upper = rows.map(([x, , above]) => `${x.toFixed(1)} ${above.toFixed(1)}`);
  const lower = rows.map(([x, below]) => `${x.toFixed(1)} ${below.toFixed(1)}`).reverse();
  return `M${[...upper, ...lower].join('L')}Z`;
}

/** Return one row of a chart in words. */
function describe(columns, kind, row) {
  const parts = kind.lines.filter(({ column }) => columns[column][row] !== null)
    .map(({ label, column }) => `${label} ${kind.format(columns[column][row])}`);
  if (kind.band && columns[kind.band[0]][row] !== null) parts.push(`band ${kind.band.map((name) => kind.format(columns[name][row])).join(' to ')}`);
  const t = columns.t[row];
  const place = kind.of_decisions ? `decision ${columns.s[row]}, ${clock(kind, t, 0)}, ${duration(t)} after it began` : clock(kind, t, columns.t.at(-1) - columns.t[0]);
  return `${kind.title}, ${place}: ${parts.join(', ') || 'no data'}`;
}

function tellEmpty(figure) {
  if (figure.querySelector('output')) return;
  const output = document.createElement('output');
  output.textContent = document.getElementById('range')?.value ? 'No data in the time shown.' : 'No data yet.';
  figure.append(output);
}

/** Dragging across a chart asks for that time alone, as an address that can be passed on. */
function zoom(svg, nearest, toSeconds, possible) {
  if (!possible || !document.getElementById('range')) return;
  let from = null;
  svg.addEventListener('pointerdown', (event) => { from = event.button || event.pointerType !== 'mouse' ? null : nearest(event); });
  svg.addEventListener('pointerup', (event) => {
    const to = nearest(event);
    if (from === null || from === to) { from = null; return; }
    const ends = toSeconds(Math.min(from, to), Math.max(from, to));
    const address = new URL(location.href);
    address.searchParams.set('t', [Math.floor(ends[0]), Math.ceil(ends[1])].map((end) => iso(end).slice(0, 19)).join('/'));
    location.assign(address);
  });
}

/** Put a drawing into its figure; the reading that somebody has taken stays. */
function place(figure, svg, { columns, kind, xs, height }) {
  const old = figure.querySelector('svg');
  const focused = old !== null && document.activeElement === old;
  let output = figure.querySelector('output');
  if (!output) { output = document.createElement('output'); figure.append(output); }
  const cursor = element('path', { class: 'cursor', d: '' });
  svg.append(cursor);
  let row = figure.dataset.row === undefined ? null : Math.min(Number(figure.dataset.row), xs.length - 1);
  const read = () => {
    cursor.setAttribute('d', row === null ? '' : `M${xs[row].toFixed(1)} ${TOP}V${height - BOTTOM}`);
    output.textContent = row === null ? '' : describe(columns, kind, row).slice(kind.title.length + 2);
    if (row === null) delete figure.dataset.row; else { figure.dataset.row = row; svg.setAttribute('aria-label', describe(columns, kind, row)); }
  };
  const take = (wanted) => { row = wanted; read(); };
  svg.addEventListener('keydown', (event) => {
    const last = xs.length - 1;
    const moves = { ArrowLeft: (row ?? last + 1) - 1, ArrowRight: (row ?? -1) + 1, Home: 0, End: last };
    if (event.key === 'Escape') take(null);
    if (event.key === 'Enter' && row !== null && kind.of_decisions) location.assign(`/decisions/${columns.s[row]}`);
    if (!(event.key in moves)) return;
    event.preventDefault();
    take(Math.min(Math.max(moves[event.key], 0), last));
  });
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return xs.reduce((best, at, index) => (Math.abs(at - x) < Math.abs(xs[best] - x) ? index : best), 0);
  };
  svg.addEventListener('pointermove', (event) => take(nearest(event)));
  zoom(svg, nearest, (from, to) => [from, to].map((at) => kind.origin_s + columns.t[at]), kind.origin_s !== undefined);
  svg.addEventListener('pointerleave', () => { if (document.activeElement !== svg) take(null); });
  svg.addEventListener('blur', () => { if (!placing) take(null); });
  read();
  placing = true;
  if (old) old.replaceWith(svg); else figure.prepend(svg);
  if (focused) svg.focus({ preventScroll: true });
  placing = false;
}
