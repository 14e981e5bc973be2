/** Calls `f` while variables of the environment are changed, or absent where undefined. */
export async function withEnvironment<T>(changed: Record<string, string | undefined>, f: () => Promise<T>): Promise<T> {
  const before = Object.fromEntries(Object.keys(changed).map((name) => [name, process.env[name]]));
  const set = (values: Record<string, string | undefined>) => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  set(changed);
  try {
    return await f();
  } finally {
    set(before);
  }
}
