/** A process that fetches the model that it is told, and prints its folder. */
import { fetchModel } from '../../lib/models/fetch-model.js';

console.log(await fetchModel(process.argv[2]!));
