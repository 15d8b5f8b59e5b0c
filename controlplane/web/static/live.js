// One stream per page. It names the decision it has seen, so that nothing is lost over a restart of the server, and
// nothing is shown twice. A hidden tab closes it: a browser allows six connections to one server.
const QUIET_S = 8;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 4000;

const badge = document.getElementById('badge');
const bar = document.getElementById('bar');
const body = document.body;

const clock = (seconds) => `${new Date(seconds * 1000).toISOString().slice(11, 19)} UTC`;

/** Show how the page stands: live, stale (no decision although one is due), lost, or at rest. */
function show(state, asof, words) {
  badge.dataset.state = state;
  badge.textContent = words ?? `${state}${asof ? `, as of ${clock(asof)}` : ''}`;
  body.dataset.connection = state;
}

function warn(words) {
  if (bar.textContent !== words) bar.textContent = words;
  bar.hidden = !words;
}

export function follow({ change }) {
  if (!('live' in body.dataset)) return;
  const seen = { after: Number(body.dataset.after), origin: null, asof: null, phase: null, heard: Date.now() };
  let source = null;
  let timer = null;
  let wait = FIRST_WAIT_MS;
  let look = body.dataset.live; // what the server said when the page was loaded: the first stream goes on from it

  function note(data) {
    seen.heard = Date.now();
    wait = FIRST_WAIT_MS;
    if (seen.origin && data.origin !== seen.origin) location.reload();
    seen.origin = data.origin || seen.origin;
    seen.asof = data.asof;
    if (data.phase && seen.phase && data.phase !== seen.phase) {
      document.getElementById('announce').textContent = `the rollout is ${data.phase.replace('-', ' ')}`;
    }
    seen.phase = data.phase ?? seen.phase;
    const age = data.asof ? Date.now() / 1000 - data.asof : 0;
    if (data.problem) {
      show('stale', data.asof);
      warn(`what is shown may be incomplete: ${data.problem}`);
    } else if (data.busy && age > 10) {
      show('stale', data.asof);
      warn(`no decision since ${clock(data.asof)}: is the control plane running?`);
    } else {
      show('live', data.asof, data.asof ? undefined : 'live, no decisions yet');
      warn('');
    }
  }

  function open() {
    clearTimeout(timer);
    const page = encodeURIComponent(body.dataset.page);
    source = new EventSource(`/live?page=${page}&after=${seen.after}&seen=${look}`);
    source.addEventListener('beat', (event) => note(JSON.parse(event.data)));
    source.addEventListener('change', (event) => {
      const data = JSON.parse(event.data);
      note(data);
      change(data);
      seen.after = Math.max(seen.after, Number(event.lastEventId));
      body.dataset.after = seen.after;
    });
    source.addEventListener('error', lose);
    source.addEventListener('open', () => { seen.heard = Date.now(); look = ''; });
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  /** Say that the connection is gone and try again, each time a little later. */
  function lose() {
    close();
    show('lost', seen.asof, seen.asof ? `connection lost, values as of ${clock(seen.asof)}` : 'connection lost');
    warn(seen.asof ? `connection lost: values as of ${clock(seen.asof)}` : 'connection lost');
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }

  setInterval(() => { if (source && Date.now() - seen.heard > QUIET_S * 1000) lose(); }, 2000);
  document.addEventListener('visibilitychange', () => {
    close();
    if (document.visibilityState === 'visible') open();
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => { if (event.persisted) open(); });
  if (document.visibilityState === 'visible') open();
}
