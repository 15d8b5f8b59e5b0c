// The keyboard. No single key changes anything but where one looks.
const typing = (target) => target.closest('input, select, textarea, [contenteditable]');

function step(by) {
  const rows = [...document.querySelectorAll('[data-open]')].filter((row) => row.offsetParent !== null);
  if (!rows.length) return;
  const now = rows.indexOf(document.activeElement.closest('[data-open]'));
  const next = now < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(now + by, 0), rows.length - 1);
  rows[next].focus();
}

export function listen() {
  const help = document.getElementById('keys');
  let leading = 0;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) return;
    const { key } = event;
    if (Date.now() - leading < 1500) {
      leading = 0;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (key === 'g') leading = Date.now();
    else if (key === '/') { event.preventDefault(); document.querySelector('[role=search] input').focus(); }
    else if (key === '?') help.showModal();
    else if (key === 'j') step(1);
    else if (key === 'k') step(-1);
    else if (key === 't') { const range = document.getElementById('range'); if (range) { event.preventDefault(); range.focus(); range.select(); } }
    else if (key === '[') document.querySelector('a[rel=prev]')?.click();
    else if (key === ']') document.querySelector('a[rel=next]')?.click();
    else if (key === 'Enter' && event.target.dataset?.open) location.assign(event.target.dataset.open);
  });
  // Copying a row copies the id that it is about, unless something else is selected.
  document.addEventListener('copy', (event) => {
    const row = document.activeElement.closest('[data-open]');
    if (!row || !getSelection().isCollapsed || typing(event.target)) return;
    event.clipboardData.setData('text/plain', decodeURIComponent(row.dataset.open.split('/').at(-1)));
    event.preventDefault();
  });
  document.addEventListener('dblclick', (event) => {
    const row = event.target.closest('[data-open]');
    if (row && !event.target.closest('a, button')) location.assign(row.dataset.open);
  });
}
