// How many agents wait for approval, for the navigation.
import { createContext, useEffect, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";

const changed = "keeper:agents";

/** Says that agents were changed here, so that the number is counted anew. */
export const agentsChanged = () => window.dispatchEvent(new CustomEvent(changed));

/** That number, counted once for all who show it. */
export const Pending = createContext(0);

export function usePending() {
  const may = useSession().can("read");
  const [turn, setTurn] = useState(0);
  const { data } = useLoad(async (signal) => (may ? (await api.get("/agents", { signal })).agents : []), [may, turn], { every: 20 });
  useEffect(() => {
    const again = () => setTurn((n) => n + 1);
    window.addEventListener(changed, again);
    return () => window.removeEventListener(changed, again);
  }, []);
  return (data || []).filter((agent) => agent.status === "pending").length;
}
