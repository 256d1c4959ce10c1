// How: plain or stream. The base URL and the key come from the environment.
import OpenAI from 'openai';

const [, , how, prompt] = process.argv;
const ask = { model: 'gpt-fake', messages: [{ role: 'user', content: prompt }] };
if (how === 'stream') {
  for await (const chunk of await new OpenAI().chat.completions.create({ ...ask, stream: true })) {
    console.log(chunk.choices[0]?.delta?.content ?? '');
  }
} else {
  console.log((await new OpenAI().chat.completions.create(ask)).choices[0].message.content);
}
