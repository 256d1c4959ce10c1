import Anthropic from '@anthropic-ai/sdk';

const [, , how, prompt] = process.argv;
const ask = { model: 'claude-fake', max_tokens: 64, messages: [{ role: 'user', content: prompt }] };
if (how === 'stream') {
  for await (const event of await new Anthropic().messages.create({ ...ask, stream: true })) {
    console.log(event.delta?.text ?? '');
  }
} else {
  console.log((await new Anthropic().messages.create(ask)).content[0].text);
}
