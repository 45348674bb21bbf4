// Uploads a file in parts with tus-js-client: node upload.cjs URL FILE PROTOCOL CHUNK_BYTES, where 0 is one part.
// Prints how often it had to go on, and where.
const fs = require("fs");
const tus = require(process.env.TUS_JS_CLIENT);

const [url, file, protocol, chunk] = process.argv.slice(2);
let retries = 0;
const upload = new tus.Upload(fs.readFileSync(file), {
    endpoint: url,
    protocol,
    chunkSize: Number(chunk) || Infinity,
    metadata: protocol === "tus-v1" ? { filename: "archive.tar.gz" } : {},
    retryDelays: Array(20).fill(10),
    onShouldRetry: () => {
        retries += 1;
        return true;
    },
    onError: (error) => {
        console.error(String(error));
        process.exitCode = 1;
    },
    onSuccess: () => console.log(JSON.stringify({ retries, url: upload.url })),
});
upload.start();
