// The one place where Node 20 is brought up to what libp2p 3 expects: Promise.withResolvers (ES2024,
// built in from Node 22 on). Every entry point, worker and test loads this file before anything else.
Promise.withResolvers ??= function withResolvers() {
  let resolve;
  let reject;
  const promise = new this((fulfil, refuse) => {
    resolve = fulfil;
    reject = refuse;
  });
  return { promise, resolve, reject };
};
