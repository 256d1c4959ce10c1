/** What a table has under a key that may be anything: nothing of what all objects inherit. */
export const own = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);
