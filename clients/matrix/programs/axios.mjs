// What axios calls its error's message says nothing but the status, whatever came:
// an app prints the body beside it.
import axios from 'axios';

const [, , how, prompt] = process.argv;
const ask = { model: 'gpt-fake', stream: how === 'stream', messages: [{ role: 'user', content: prompt }] };
const options = { headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` }, responseType: how === 'stream' ? 'stream' : 'json' };
try {
  const { data } = await axios.post(`${process.env.BASE ?? 'https://api.openai.com'}/v1/chat/completions`, ask, options);
  if (how !== 'stream') {
    console.log(data.choices[0].message.content);
  } else {
    let text = '';
    for await (const piece of data) text += piece;
    for (const [, line] of text.matchAll(/^data: (\{.*)$/gm)) console.log(JSON.parse(line).choices[0].delta.content ?? '');
  }
} catch (error) {
  console.error(error.message, error.response?.data?.error?.message ?? '');
  process.exitCode = 1;
}
