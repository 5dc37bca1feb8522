// What this server is told of a request, and what it would believe of a body.
async function whoami(request: Request) {
  const told = [...request.headers].filter(([name]) => name.startsWith('x-clerk-'));
  return Response.json({ told: Object.fromEntries(told), body: await request.text() });
}

export { whoami as GET, whoami as POST };
