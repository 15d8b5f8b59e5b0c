// Asking for something: the page of an action opens as a dialog on the page one is on. Without scripts it is a page.
const holds = async (address, selector) => {
  const answer = await fetch(address, { headers: { accept: 'text/html' } });
  return new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector(selector);
};

function open(part) {
  const dialog = document.createElement('dialog');
  dialog.setAttribute('aria-labelledby', 'ask-title');
  dialog.append(document.adoptNode(part));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => {
    if (event.target.closest('[data-close]')) { event.preventDefault(); dialog.close(); }
  });
  document.body.append(dialog);
  dialog.showModal();
}

export function listenAsks() {
  document.addEventListener('click', async (event) => {
    const link = event.target.closest('a[data-ask]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const part = await holds(link.href, '#ask').catch(() => null);
    if (part) open(part); else location.assign(link.href);
  });
}

/** Look again what this person may ask for: it has changed with the rollout. */
export async function renew() {
  const place = document.querySelector('[data-person]');
  if (!place?.firstElementChild) return;
  const part = await holds(location.href, '[data-person]').catch(() => null);
  if (!part || part.innerHTML === place.innerHTML) return;
  const held = place.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  place.replaceWith(document.adoptNode(part));
  if (held) part.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}
