import { GoogleGenAI } from '@google/genai';

const [, , how, prompt] = process.argv;
const models = new GoogleGenAI({}).models;
const ask = { model: 'gemini-fake', contents: prompt };
if (how === 'stream') {
  for await (const chunk of await models.generateContentStream(ask)) console.log(chunk.text);
} else {
  console.log((await models.generateContent(ask)).text);
}
