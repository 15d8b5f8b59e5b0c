// Everything a page does beyond being read: live regions, charts, keys, copying. Without it the page still reads.
import { addRows, draw, drawAll, load } from './charts.js';
import { listenAsks, renew } from './ask.js';
import { drawScatters } from './scatter.js';
import { listen } from './keys.js';
import { follow } from './live.js';

const island = document.getElementById('series');
load(island ? JSON.parse(island.textContent) : {});

/** Give each command a button that copies it. */
function dress(root) {
  for (const command of root.querySelectorAll('code.command')) {
    const button = document.createElement('button');
    button.className = 'copy';
    button.type = 'button';
    button.textContent = 'copy';
    button.setAttribute('aria-label', `copy ${command.textContent}`);
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = 'copied';
      setTimeout(() => { button.textContent = 'copy'; }, 1500);
    });
    command.after(button);
  }
  for (const row of root.querySelectorAll('[data-open]')) row.tabIndex = -1;
}

/** Put new HTML, escaped by the server, into a region; the focus stays on the element with the same id. */
function replace(name, html) {
  const region = document.querySelector(`[data-region="${name}"]`);
  if (!region) return;
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const held = focused?.closest('[id]')?.id;
  const reading = focused?.closest('figure')?.dataset.row;
  const ticked = [...region.querySelectorAll('input:checked')].map((input) => input.id);
  const open = [...region.querySelectorAll('details')].map((details) => details.open);
  region.replaceChildren(document.createRange().createContextualFragment(html));
  region.querySelectorAll('details').forEach((details, index) => { details.open = open[index] ?? false; });
  dress(region);
  for (const id of ticked) { const input = document.getElementById(id); if (input) input.checked = true; }
  drawAll();
  const place = held && document.getElementById(held);
  if (place?.matches('figure')) {
    if (reading !== undefined) place.dataset.row = reading;
    draw(place);
    place.querySelector('svg')?.focus({ preventScroll: true });
  } else if (place) place.focus({ preventScroll: true });
}

dress(document);
drawAll();
drawScatters();
listen();
listenAsks();
setInterval(() => { if (document.querySelector('[data-renew]') && document.visibilityState === 'visible') renew(); }, 5000);
if (document.querySelector('[data-again]')) setTimeout(() => location.reload(), 1500);
follow({
  change({ regions, series }) {
    for (const [name, html] of Object.entries(regions)) replace(name, html);
    addRows(series);
    if ('journal' in regions) renew();
    drawAll();
    drawScatters();
  },
});
