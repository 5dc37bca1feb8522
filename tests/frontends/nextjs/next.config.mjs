// The packages stand two levels up, beside the only lock there is.
export default { turbopack: { root: new URL('../..', import.meta.url).pathname } };
