// Data that a page shows, loaded and kept fresh.
import { useCallback, useEffect, useRef, useState } from "./html.js";

/**
 * Calls load(signal) when keys change, every so many seconds while the page is in
 * sight, and on reload(). What was loaded stays in sight while it is loaded anew;
 * of another key it does not.
 */
export function useLoad(load, keys = [], { every = 0 } = {}) {
  const key = JSON.stringify(keys);
  const [state, setState] = useState({ key: null, data: null, error: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    const run = async () => {
      try {
        const data = await latest.current(stop.signal);
        if (!stop.signal.aborted) setState({ key, data, error: null });
      } catch (error) {
        if (stop.signal.aborted) return;
        setState((old) => ({ key, data: old.key === key ? old.data : null, error }));
      }
      plan();
    };
    const plan = () => {
      if (every > 0 && !stop.signal.aborted) timer = setTimeout(document.hidden ? plan : run, every * 1000);
    };
    run();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, turn, every]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const own = state.key === key;
  return { data: own ? state.data : null, error: own ? state.error : null, reload };
}

/** Runs what a button does, once at a time, and keeps its error for the form. */
export function useAction(action) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const run = async (...args) => {
    if (busy) return undefined;
    setBusy(true);
    setError(null);
    try {
      return await action(...args);
    } catch (failure) {
      setError(failure);
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { run, busy, error, clear: () => setError(null) };
}
