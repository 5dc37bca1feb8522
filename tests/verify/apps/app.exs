# Elixir, on what Erlang itself reads HTTP with.

defmodule App do
  def serve(socket, keys, options) do
    {:ok, connection} = :gen_tcp.accept(socket)
    {:ok, pid} = Task.start(fn -> receive(do: (:yours -> answer(connection, keys, options))) end)
    :ok = :gen_tcp.controlling_process(connection, pid)
    send(pid, :yours)
    serve(socket, keys, options)
  end

  defp answer(connection, keys, options) do
    {:ok, {:http_request, method, {:abs_path, target}, _}} = :gen_tcp.recv(connection, 0)
    headers = headers(connection)
    read_body(connection, headers)

    {status, text} =
      case Countersign.verify("#{method}", target, headers, keys, options) do
        {:ok, told} -> {"200 OK", Enum.map_join(told, fn {name, value} -> "#{name}: #{value}\n" end)}
        {:error, why} -> {"401 Unauthorized", why}
      end

    head = "HTTP/1.1 #{status}\r\ncontent-length: #{byte_size(text)}\r\nconnection: close\r\n\r\n"
    :gen_tcp.send(connection, head <> text)
    :gen_tcp.close(connection)
  end

  defp headers(connection) do
    case :gen_tcp.recv(connection, 0) do
      {:ok, {:http_header, _, name, _, value}} -> [{"#{name}", value} | headers(connection)]
      {:ok, :http_eoh} -> []
    end
  end

  # Closed with bytes unread, a connection is reset, and the answer lost.
  defp read_body(connection, headers) do
    :ok = :inet.setopts(connection, packet: :raw)
    for {"Content-Length", length} <- headers, do: :gen_tcp.recv(connection, String.to_integer(length))
  end
end

words = &(&1 |> System.fetch_env!() |> String.split())
keys = Countersign.secret(System.fetch_env!("COUNTERSIGN_SIGNING_SECRET"))
port = String.to_integer(System.fetch_env!("PORT"))
listen = [:binary, packet: :http_bin, active: false, ip: {127, 0, 0, 1}, reuseaddr: true, buffer: 65_536]
{:ok, socket} = :gen_tcp.listen(port, listen)
App.serve(socket, keys, identity: words.("IDENTITY"), cover: words.("COVER"))
