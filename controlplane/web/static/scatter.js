// Profiled versions: latency across, quality up, cost as area; drawn from the table that stands below.
import { element, rounds } from './charts.js';

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [58, 30, 16, 40, 240];

export function drawScatters() {
  for (const figure of document.querySelectorAll('figure[data-scatter]')) {
    const rows = [...document.querySelectorAll('table.profiles tbody tr')].map(({ dataset }) => dataset);
    const known = rows.filter(({ x, y }) => x && y);
    if (known.length) figure.querySelector('svg')?.remove();
    if (known.length) figure.prepend(draw(figure, known));
  }
}

function draw(figure, rows) {
  const width = Math.max(figure.clientWidth, 260);
  const far = Math.max(...rows.map(({ x }) => Number(x))) * 1.15;
  const heights = rows.flatMap(({ y, low, high }) => [y, low || y, high || y].map(Number));
  const [bottom, top] = [Math.min(...heights), Math.max(...heights)];
  const room = Math.max(top - bottom, 0.01) * 0.1;
  const toX = (value) => LEFT + (value / far) * (width - LEFT - RIGHT);
  const toY = (value) => HEIGHT - BOTTOM - ((value - bottom + room) / (top - bottom + 2 * room)) * (HEIGHT - TOP - BOTTOM);
  const dearest = Math.max(...rows.map(({ cost }) => Number(cost) || 0));
  const words = rows.map(({ name, x, y }) => `${name}: ${Number(x).toPrecision(3)} s, ${Number(y).toFixed(3)}`).join('; ');
  const svg = element('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': `${figure.dataset.title}. ${words}` });
  svg.append(element('path', { class: 'axis', d: `M${LEFT} ${HEIGHT - BOTTOM}H${width - RIGHT}M${LEFT} ${TOP}V${HEIGHT - BOTTOM}` }));
  for (const x of rounds(0, far)) svg.append(element('text', { x: toX(x), y: HEIGHT - BOTTOM + 16, 'text-anchor': 'middle' }, `${x} s`));
  for (const y of rounds(bottom - room, top + room)) svg.append(element('text', { x: LEFT - 8, y: toY(y) + 4, 'text-anchor': 'end' }, `${y}`));
  svg.append(element('text', { x: width - RIGHT, y: HEIGHT - 8, 'text-anchor': 'end' }, 'p95 latency of one picture'));
  svg.append(element('text', { x: LEFT + 6, y: TOP }, 'quality'));
  for (const { name, x, y, low, high, cost, front } of rows) {
    const [atX, atY] = [toX(Number(x)), toY(Number(y))];
    if (low && high) svg.append(element('path', { class: 'axis', d: `M${atX} ${toY(Number(low))}V${toY(Number(high))}` }));
    const radius = dearest && cost ? 4 + 8 * Math.sqrt(Number(cost) / dearest) : 6;
    svg.append(element('circle', { class: front === undefined ? 'dot' : 'dot front', cx: atX, cy: atY, r: radius }));
    const left = atX > width * 0.7;
    svg.append(element('text', { x: left ? atX - radius - 4 : atX + radius + 4, y: atY + 4, 'text-anchor': left ? 'end' : 'start' }, name));
  }
  return svg;
}
