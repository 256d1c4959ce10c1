// Stripe's client knows a host and a port, and no path.
import Stripe from 'stripe';

const [, , , prompt] = process.argv;
const at = process.env.BASE && new URL(process.env.BASE);
const stripe = new Stripe(process.env.STRIPE_API_KEY, at ? { protocol: 'http', host: at.hostname, port: at.port } : {});
console.log((await stripe.customers.create({ description: prompt })).description);
