// Requests as they would be with something changed.

const TOKEN = /[\w-]+\.[\w-]+\.[\w-]*/g;

// The same request with each line of its header `name` replaced by what `change` makes of it; `null` takes it out.
export function withHeader(request, name, change) {
  const headers = request.headers.flatMap(([own, value]) => {
    if (own !== name) return [[own, value]];
    const changed = change(value);
    return changed === null ? [] : [[own, changed]];
  });
  return { ...request, headers };
}

export function header(request, name) {
  return request.headers.find(([own]) => own === name)?.[1];
}

// The cookies in order as `[name, value]`, each value decoded where it can be.
export function cookies(request) {
  const pairs = request.headers.filter(([name]) => name === 'Cookie').flatMap(([, line]) => line.split(';'));
  return pairs.filter((pair) => pair.includes('=')).map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim())];
  });
}

// `change` is given name and decoded value, and returns another pair, `null` for none, or nothing for the same.
export function withCookies(request, change) {
  return withHeader(request, 'Cookie', (line) => {
    const pairs = line.split(';').flatMap((pair) => {
      const at = pair.indexOf('=');
      if (at < 0) return [pair];
      const changed = change(pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim()));
      if (changed === undefined) return [pair];
      return changed === null ? [] : [` ${changed[0]}=${encodeURIComponent(changed[1])}`];
    });
    return pairs.length === 0 ? null : pairs.join(';');
  });
}

// The query parameters in order as `[name, value]`, decoded.
export function query(request) {
  return [...new URLSearchParams(request.target.split('?')[1] ?? '')];
}

export function path(request) {
  return request.target.split('?')[0];
}

// The same request with query parameters under another name: nobody knows them there. `back` undoes it in a verdict.
export function withoutParameters(request, names) {
  const [path, query] = request.target.split('?');
  const change = (text, from, to) => names.reduce((done, name) => {
    // As a parameter's name: in a query, or in an address within one.
    const whole = new RegExp(`(^|&|%26|\\?|%3F)${from(name)}(?==|%3D|&|%26|$)`, 'g');
    return done.replace(whole, `$1${to(name)}`);
  }, text);
  const hidden = (name) => `hidden${name}`;
  const target = query === undefined ? path : `${path}?${change(query, (it) => it, hidden)}`;
  const back = (verdict) => ({
    ...verdict, location: verdict.location && change(verdict.location, hidden, (name) => name),
  });
  return { request: { ...request, target }, back };
}

// Every token of ours in a request, and in what the Backend API answers to it.
export function tokens(request, mint) {
  const texts = [
    ...request.headers.filter(([name]) => name === 'Authorization').map(([, value]) => value),
    ...cookies(request).map(([, value]) => value),
    ...query(request).map(([, value]) => value),
    JSON.stringify(request.answers),
  ];
  const found = new Set();
  const look = (text) => {
    for (const [token] of text.matchAll(TOKEN)) {
      const spec = mint.spec(token);
      if (!spec || found.has(token)) continue;
      found.add(token);
      // What a handshake brings.
      look(JSON.stringify(spec.claims));
    }
  };
  texts.forEach(look);
  return [...found];
}

// The tokens that the request itself shows for a session, in its header or its cookies.
export function presented(request, mint) {
  const shown = withCookies(request, (name) => (name.startsWith('__session') ? undefined : null));
  return tokens({ ...shown, target: path(request), answers: {} }, mint);
}

export function bearer(request) {
  return /^Bearer ([!-~]+)$/.exec(header(request, 'Authorization') ?? '')?.[1];
}

// The same request with some of its tokens replaced by what `change` returns for them, wherever they stand; nothing
// where there are none. `back` undoes it in a verdict.
export function withTokens(request, mint, change, among = tokens(request, mint)) {
  const pairs = [];
  for (const token of among) {
    const other = change(mint.spec(token), token);
    if (other !== undefined && other !== token) pairs.push([token, other]);
  }
  if (pairs.length === 0) return undefined;
  const swap = (text) => pairs.reduce((done, [from, to]) => done.replaceAll(from, to), text);
  // A handshake's token that holds one of them is another one, too.
  for (const token of tokens(request, mint)) {
    const claims = JSON.stringify(mint.spec(token).claims);
    const held = claims.includes('"handshake"') && swap(claims);
    if (held && held !== claims) {
      pairs.push([token, mint.changed(token, (spec) => { spec.claims = JSON.parse(held); })]);
    }
  }
  const answers = Object.fromEntries(Object.entries(request.answers).map(([about, answer]) =>
    [about, JSON.parse(swap(JSON.stringify(answer)))]));
  let changed = withHeader(request, 'Authorization', swap);
  changed = withCookies(changed, (name, value) => (swap(value) === value ? undefined : [name, swap(value)]));
  changed = withAnswers({ ...changed, target: swap(changed.target) }, answers);
  const undo = (text) => pairs.reduceRight((done, [from, to]) => done.replaceAll(to, from), text);
  return {
    request: changed.request,
    back: (verdict) => changed.back({
      ...verdict, location: verdict.location && undo(verdict.location), cookies: verdict.cookies.map(undo),
      calls: verdict.calls && JSON.parse(undo(JSON.stringify(verdict.calls))),
    }),
  };
}

// The same request with other answers of the Backend API: asked for under other names, so that both can be had.
export function withAnswers(request, answers) {
  const renamed = Object.entries(answers).filter(([about, answer]) =>
    JSON.stringify(answer) !== JSON.stringify(request.answers[about])).map(([about]) => [about, `${about}x`]);
  const swap = (text) => renamed.reduce((done, [from, to]) => (done === from ? to : done), text);
  const undo = (text) => renamed.reduce((done, [from, to]) => done.replaceAll(to, from), text);
  const [path, search] = request.target.split('?');
  const changed = withCookies(request, (name, value) => (swap(value) === value ? undefined : [name, swap(value)]));
  const parameter = (pair) => pair.split('=').map((part, at) => (at === 1 ? swap(part) : part)).join('=');
  const target = search === undefined ? path : `${path}?${search.split('&').map(parameter).join('&')}`;
  const own = Object.fromEntries(Object.entries(answers).map(([about, answer]) => [swap(about), answer]));
  return {
    request: { ...changed, target, answers: own },
    back: (verdict) => ({
      ...verdict, location: verdict.location && undo(verdict.location),
      calls: verdict.calls && JSON.parse(undo(JSON.stringify(verdict.calls))),
    }),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
