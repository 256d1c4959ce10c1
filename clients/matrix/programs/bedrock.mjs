import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';

const [, , how, prompt] = process.argv;
const client = new BedrockRuntimeClient();
const ask = { modelId: 'fake.model-v1:0', messages: [{ role: 'user', content: [{ text: prompt }] }] };
if (how === 'stream') {
  for await (const event of (await client.send(new ConverseStreamCommand(ask))).stream) {
    console.log(event.contentBlockDelta?.delta.text ?? '');
  }
} else {
  console.log((await client.send(new ConverseCommand(ask))).output.message.content[0].text);
}
