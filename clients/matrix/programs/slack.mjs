import { WebClient } from '@slack/web-api';

const [, , , prompt] = process.argv;
const slack = new WebClient(process.env.SLACK_TOKEN, process.env.BASE ? { slackApiUrl: `${process.env.BASE}/api/` } : {});
console.log((await slack.chat.postMessage({ channel: 'C0FAKE', text: prompt })).message.text);
