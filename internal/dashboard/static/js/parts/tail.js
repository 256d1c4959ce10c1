// The audit log as it grows.
import { useEffect, useRef, useState } from "../lib/html.js";
import { address } from "../lib/api.js";
import { lasting } from "../lib/auditquery.js";

const most = 500; // entries that are kept
const patience = 5000; // milliseconds after which a stream that was refused is asked for again
const beat = 250; // milliseconds in which arrivals are shown together

/** Newest first. While it is paused, what arrives waits. onOpen: whenever the stream begins. */
export function useTail(filters, on, onOpen) {
  const [shown, setShown] = useState([]);
  const [waiting, setWaiting] = useState(0);
  const [paused, setPaused] = useState(false);
  const [state, setState] = useState("connecting");
  const held = useRef([]);
  const opened = useRef(onOpen);
  opened.current = onOpen;
  const pause = useRef(false);
  pause.current = paused;
  const key = JSON.stringify(lasting(filters));

  useEffect(() => {
    if (!on) return undefined;
    setState("connecting");
    let source;
    let again = 0;
    const open = () => {
      source = new EventSource(address("/audit/tail", JSON.parse(key)));
      source.onopen = () => {
        setState("open");
        opened.current(); // for what was written before, and while it was away
      };
      source.onerror = () => {
        setState("connecting");
        if (source.readyState === EventSource.CLOSED) again = setTimeout(open, patience); // it was refused; else the browser tries again
      };
      source.addEventListener("entry", (event) => {
        held.current = [JSON.parse(event.data), ...held.current].slice(0, most);
      });
    };
    open();
    const timer = setInterval(() => {
      setWaiting(held.current.length);
      if (pause.current || held.current.length === 0) return;
      const arrived = held.current;
      held.current = [];
      setShown((old) => [...arrived, ...old].slice(0, most));
    }, beat);
    return () => {
      source.close();
      clearTimeout(again);
      clearInterval(timer);
      held.current = [];
      setPaused(false);
    };
  }, [on, key]);

  return { entries: on ? shown : [], waiting, paused, state, toggle: () => setPaused(!paused), clear: () => setShown([]) };
}
