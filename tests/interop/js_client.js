// The interop cases played by grpc-js, whose package has none of its own:
//
//   node js_client.js --server_host=HOST --server_port=N --test_case=NAME[,NAME...]
//       [--use_tls=true --ca_file=PEM] [--server_host_override=NAME]
//
// NODE_PATH is where @grpc/grpc-js and @grpc/proto-loader are. A line for each case; 0 if all passed.
'use strict';

const assert = require('assert');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const PROTOS = '/usr/share/grpc-proto';
const REQUEST_SIZES = [27182, 8, 1828, 45904];
const RESPONSE_SIZES = [31415, 9, 2653, 58979];
const INITIAL = 'x-grpc-test-echo-initial';
const TRAILING = 'x-grpc-test-echo-trailing-bin';

function zeros(size) {
  return { type: 'COMPRESSABLE', body: Buffer.alloc(size) };
}

function checkPayload(message, size) {
  assert.strictEqual(message.payload.type, 'COMPRESSABLE');
  assert(message.payload.body.equals(Buffer.alloc(size)), `not ${size} zero bytes`);
}

function asking(responseSizes, requestSize) {
  return {
    response_type: 'COMPRESSABLE',
    response_parameters: responseSizes.map((size) => ({ size })),
    payload: requestSize === undefined ? null : zeros(requestSize),
  };
}

function options(more) {
  return { deadline: Date.now() + 20000, ...more };
}

// The outcome of one unary call: { error, reply, initial, status }.
function unary(client, method, request, metadata = new grpc.Metadata(), more = {}) {
  return new Promise((resolve) => {
    const outcome = {};
    const call = client[method](request, metadata, options(more), (error, reply) => {
      outcome.error = error;
      outcome.reply = reply;
      if (outcome.status) resolve(outcome);
    });
    call.on('metadata', (initial) => { outcome.initial = initial; });
    call.on('status', (status) => {
      outcome.status = status;
      if ('error' in outcome) resolve(outcome);
    });
  });
}

// Follows a stream to its end; onMessage may write to it, end it or cancel it.
function follow(call, onMessage = () => {}) {
  return new Promise((resolve) => {
    const outcome = { messages: [] };
    call.on('metadata', (initial) => { outcome.initial = initial; });
    call.on('data', (message) => {
      outcome.messages.push(message);
      try {
        onMessage(message, outcome.messages.length);
      } catch (error) {
        outcome.thrown = error;
        call.cancel();
      }
    });
    call.on('error', () => {}); // the status tells
    call.on('status', (status) => { outcome.status = status; resolve(outcome); });
  });
}

function checkStatus(outcome, code, details) {
  if (outcome.thrown) throw outcome.thrown;
  assert.strictEqual(outcome.status.code, code, outcome.status.details);
  if (details !== undefined) assert.strictEqual(outcome.status.details, details);
}

function checkEcho(outcome) {
  checkStatus(outcome, grpc.status.OK);
  assert.deepStrictEqual(outcome.initial.get(INITIAL), ['test_initial_metadata_value']);
  assert(outcome.status.metadata.get(TRAILING)[0].equals(Buffer.from('ababab', 'hex')));
}

const large = () => ({
  response_type: 'COMPRESSABLE', response_size: 314159, payload: zeros(271828),
});

async function fails(client, message, streams) {
  const response_status = { code: 2, message };
  checkStatus(await unary(client, 'UnaryCall', { response_status }), 2, message);
  if (!streams) return;
  const call = client.FullDuplexCall(options());
  const outcome = follow(call);
  call.write({ response_status });
  call.end();
  checkStatus(await outcome, 2, message);
}

const CASES = {
  async empty_unary(client) {
    const outcome = await unary(client, 'EmptyCall', {});
    checkStatus(outcome, grpc.status.OK);
    assert.deepStrictEqual(outcome.reply, {});
  },

  async large_unary(client) {
    const outcome = await unary(client, 'UnaryCall', large());
    checkStatus(outcome, grpc.status.OK);
    checkPayload(outcome.reply, 314159);
  },

  async client_streaming(client) {
    const outcome = await new Promise((resolve) => {
      const call = client.StreamingInputCall(options(), (error, reply) => resolve({ error, reply }));
      for (const size of REQUEST_SIZES) call.write({ payload: zeros(size) });
      call.end();
    });
    assert.ifError(outcome.error);
    assert.strictEqual(outcome.reply.aggregated_payload_size, 74922);
  },

  async server_streaming(client) {
    const call = client.StreamingOutputCall(asking(RESPONSE_SIZES), options());
    const outcome = await follow(call, (message, n) => checkPayload(message, RESPONSE_SIZES[n - 1]));
    checkStatus(outcome, grpc.status.OK);
    assert.strictEqual(outcome.messages.length, 4);
  },

  async ping_pong(client) {
    const call = client.FullDuplexCall(options());
    const ask = (i) => call.write(asking([RESPONSE_SIZES[i]], REQUEST_SIZES[i]));
    const end = follow(call, (message, n) => {
      checkPayload(message, RESPONSE_SIZES[n - 1]);
      if (n < 4) ask(n);
      else call.end();
    });
    ask(0);
    const outcome = await end;
    checkStatus(outcome, grpc.status.OK);
    assert.strictEqual(outcome.messages.length, 4);
  },

  async empty_stream(client) {
    const call = client.FullDuplexCall(options());
    const end = follow(call);
    call.end();
    const outcome = await end;
    checkStatus(outcome, grpc.status.OK);
    assert.strictEqual(outcome.messages.length, 0);
  },

  async custom_metadata(client) {
    const metadata = new grpc.Metadata();
    metadata.set(INITIAL, 'test_initial_metadata_value');
    metadata.set(TRAILING, Buffer.from('ababab', 'hex'));
    checkEcho(await unary(client, 'UnaryCall', large(), metadata));
    const call = client.FullDuplexCall(metadata, options());
    const end = follow(call, (message) => checkPayload(message, 314159));
    call.write(asking([314159], 271828));
    call.end();
    const outcome = await end;
    checkEcho(outcome);
    assert.strictEqual(outcome.messages.length, 1);
  },

  status_code_and_message: (client) => fails(client, 'test status message', true),

  special_status_message: (client) =>
    fails(client, '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n', false),

  async unimplemented_method(client) {
    checkStatus(await unary(client, 'UnimplementedCall', {}), grpc.status.UNIMPLEMENTED);
  },

  async unimplemented_service(client, other) {
    checkStatus(await unary(other, 'UnimplementedCall', {}), grpc.status.UNIMPLEMENTED);
  },

  async cancel_after_begin(client) {
    const error = await new Promise((resolve) => {
      const call = client.StreamingInputCall(options(), resolve);
      call.cancel();
    });
    assert.strictEqual(error && error.code, grpc.status.CANCELLED);
  },

  async cancel_after_first_response(client) {
    const call = client.FullDuplexCall(options());
    const end = follow(call, (message) => {
      checkPayload(message, RESPONSE_SIZES[0]);
      call.cancel();
    });
    call.write(asking([RESPONSE_SIZES[0]], REQUEST_SIZES[0]));
    const outcome = await end;
    checkStatus(outcome, grpc.status.CANCELLED);
    assert.strictEqual(outcome.messages.length, 1);
  },

  async timeout_on_sleeping_server(client) {
    const call = client.FullDuplexCall({ deadline: Date.now() + 1 });
    const end = follow(call);
    call.write({ payload: zeros(27182) });
    checkStatus(await end, grpc.status.DEADLINE_EXCEEDED);
  },
};

async function main() {
  const flags = Object.fromEntries(process.argv.slice(2).map((argument) => {
    const [, name, value] = /^--(\w+)=(.*)$/s.exec(argument);
    return [name, value];
  }));
  const definition = loader.loadSync('grpc/testing/test.proto',
    { includeDirs: [PROTOS], keepCase: true, enums: String, longs: Number, defaults: true });
  const { testing } = grpc.loadPackageDefinition(definition).grpc;
  const credentials = flags.use_tls === 'true'
    ? grpc.credentials.createSsl(fs.readFileSync(flags.ca_file)) : grpc.credentials.createInsecure();
  const channel = flags.server_host_override
    ? { 'grpc.ssl_target_name_override': flags.server_host_override } : {};
  const target = `${flags.server_host}:${flags.server_port}`;
  let failed = 0;
  for (const name of flags.test_case.split(',')) {
    const client = new testing.TestService(target, credentials, channel);
    const other = new testing.UnimplementedService(target, credentials, channel);
    try {
      await CASES[name](client, other);
      console.log(`ok   ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${error.message}`);
    }
    client.close();
    other.close();
  }
  process.exit(failed ? 1 : 0);
}

main();
