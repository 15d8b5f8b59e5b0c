// Everything a page does beyond being read: live regions, charts, keys, copying. Without it the page still reads.
import { addRows, drawAll, load } from './charts.js';
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
  const held = region.contains(document.activeElement) ? document.activeElement.closest('[id]')?.id : null;
  const open = [...region.querySelectorAll('details')].map((details) => details.open);
  region.replaceChildren(document.createRange().createContextualFragment(html));
  region.querySelectorAll('details').forEach((details, index) => { details.open = open[index] ?? false; });
  dress(region);
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

dress(document);
drawAll();
drawScatters();
listen();
follow({
  change({ regions, series }) {
    for (const [name, html] of Object.entries(regions)) replace(name, html);
    addRows(series);
    drawAll();
    drawScatters();
  },
});
