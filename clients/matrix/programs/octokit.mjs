// Octokit reads no environment: an app hands it the address, if not GitHub's, and
// the token. A prompt that is not "Hello" becomes an issue.
import { Octokit } from '@octokit/rest';

const [, , , prompt] = process.argv;
const octokit = new Octokit({ auth: process.env.GH_TOKEN, ...(process.env.BASE && { baseUrl: process.env.BASE }) });
if (prompt === 'Hello') {
  console.log((await octokit.users.getAuthenticated()).data.bio);
} else {
  console.log((await octokit.issues.create({ owner: 'octo', repo: 'hello', title: 'A title', body: prompt })).data.body);
}
