/** Which methods each path answers: for 405 with `Allow`, and for CORS preflights. */
export type RouteTable = {
  /** Notes a route as it is registered; the pattern is Fastify's, with `:name` for one segment. */
  add(pattern: string, methods: readonly string[]): void;
  /** Methods of the routes that match a path (without query); empty when there is none. */
  methodsOf(path: string): readonly string[];
};

type Route = { segments: readonly string[]; methods: Set<string> };

/** Read only for requests that no route took, so a walk over all patterns is cheap enough. */
export function createRouteTable(): RouteTable {
  const routes = new Map<string, Route>();
  return {
    add: (pattern, methods) => {
      const route = routes.get(pattern) ?? { segments: pattern.split("/"), methods: new Set() };
      for (const method of methods) route.methods.add(method);
      routes.set(pattern, route);
    },
    methodsOf: (path) => {
      const segments = path.split("/");
      const found = [...routes.values()].filter((route) => isMatch(route.segments, segments));
      return [...new Set(found.flatMap(({ methods }) => [...methods]))].toSorted();
    },
  };
}

function isMatch(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((part, i) => (part.startsWith(":") ? segments[i] !== "" : part === segments[i]))
  );
}
