type Gate = { opened: Promise<void>; open: () => void };

// The gate that the slow part of a page waits at. Routes are bundled apart: they share what is global.
export function gate(): Gate {
  const shared = globalThis as { gate?: Gate };
  return (shared.gate ??= closed());
}

function closed(): Gate {
  let open = () => {};
  const opened = new Promise<void>((resolve) => { open = resolve; });
  return { opened, open };
}
