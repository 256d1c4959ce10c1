import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [, , how, prompt] = process.argv;
const transport = new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), {
  requestInit: { headers: { Authorization: `Bearer ${process.env.MCP_TOKEN}` } },
});
const client = new Client({ name: 'matrix', version: '1.0.0' });
await client.connect(transport);
const show = how === 'stream' ? { onprogress: ({ message }) => console.log(message) } : {};
const result = await client.callTool({ name: how === 'stream' ? 'tell' : 'say', arguments: { text: prompt } }, undefined, show);
console.log(result.content[0].text);
await client.close();
