// The AI SDK with the provider package that AI_PROVIDER names.
import { generateText, streamText } from 'ai';
import { anthropic } from '@ai-sdk/anthropic';
import { openai } from '@ai-sdk/openai';

const [, , how, prompt] = process.argv;
const model = process.env.AI_PROVIDER === 'anthropic' ? anthropic('claude-fake') : openai('gpt-fake');
if (how === 'stream') {
  for await (const piece of streamText({ model, prompt }).textStream) console.log(piece); // its default onError prints
} else {
  console.log((await generateText({ model, prompt })).text);
}
