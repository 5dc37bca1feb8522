using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Security;
using System.Text;
using System.Threading.Tasks;

// Reads a request by itself: Mono's HttpListener believes which host is meant before anybody else.
static class App
{
    static string[] Words(string name) =>
        Environment.GetEnvironmentVariable(name).Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);

    static void Main()
    {
        var keys = Countersign.Secret(Environment.GetEnvironmentVariable("COUNTERSIGN_SIGNING_SECRET"));
        var cover = Words("COVER").Select(part => "@" + part);
        var covered = Words("IDENTITY").Concat(new[] { "@method", "@authority", "@path" }).Concat(cover).ToArray();
        var listener = new TcpListener(IPAddress.Loopback, int.Parse(Environment.GetEnvironmentVariable("PORT")));
        listener.Start();
        while (true)
        {
            var client = listener.AcceptTcpClient();
            Task.Run(() => { using (client) Answer(client.GetStream(), keys, covered); });
        }
    }

    static void Answer(Stream stream, Dictionary<string, byte[]> keys, string[] covered)
    {
        var reader = new StreamReader(stream, Encoding.GetEncoding(28591)); // Latin-1
        var line = (reader.ReadLine() ?? "").Split(' ');
        if (line.Length != 3) return; // whoever looks whether we listen
        var headers = new List<KeyValuePair<string, string>>();
        for (var field = reader.ReadLine(); field != ""; field = reader.ReadLine())
            headers.Add(new KeyValuePair<string, string>(field.Split(':')[0], field.Substring(field.IndexOf(':') + 1)));
        // Closed with bytes unread, a connection is reset, and the answer lost.
        var lengths = headers.Where(one => one.Key.ToLowerInvariant() == "content-length");
        var length = lengths.Sum(one => int.Parse(one.Value));
        reader.ReadBlock(new char[length], 0, length);
        string status = "200 OK", text;
        try
        {
            var told = Countersign.Verify(line[0], line[1], headers, keys, covered, "x-clerk-");
            text = string.Concat(told.Select(one => one.Key + ": " + one.Value + "\n"));
        }
        catch (SecurityException why)
        {
            (status, text) = ("401 Unauthorized", why.Message);
        }
        var head = "HTTP/1.1 " + status + "\r\nContent-Length: " + text.Length + "\r\nConnection: close\r\n\r\n";
        var bytes = Encoding.GetEncoding(28591).GetBytes(head + text);
        stream.Write(bytes, 0, bytes.Length);
    }
}
